// A service with the TypeScript SDK of Resonate, whose function can be held in the middle.
//
//     node holding.mjs URL GROUP

import { appendFileSync, existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Resonate } from "@resonatehq/sdk";

// The SDK uses it, and Node 20 does not have it yet.
Promise.withResolvers ??= () => {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};

const [url, group] = process.argv.slice(2);

// Notes that it runs, and works until there is a file.
async function step(ctx, n, folder) {
  appendFileSync(`${folder}/steps.txt`, `${n}\n`);
  while (!existsSync(`${folder}/first`)) await sleep(20);
  return n + 1;
}

function* held(ctx, n, folder) {
  const more = yield* ctx.run(step, n, folder);
  return yield* ctx.rpc("hold", more, `${folder}/second`, ctx.options({ target: "ours" }));
}

const resonate = new Resonate({ url, group });
resonate.register(step);
resonate.register(held);
