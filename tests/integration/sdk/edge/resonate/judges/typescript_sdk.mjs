// Cases with the TypeScript SDK of Resonate; runs with Node in a folder that has it.
//
// Serves the group `theirs-ts`, plays each case as a client, and prints one line of JSON for each:
// its name, and its result. The end of the input ends it; until then it goes on serving.
//
//     node typescript_sdk.mjs URL PREFIX [LOAD]

import { Resonate } from "@resonatehq/sdk";

// The SDK uses it, and Node 20 does not have it yet.
Promise.withResolvers ??= () => {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};

const [url, prefix, load = "20"] = process.argv.slice(2);
const LOAD = Number(load);

function add(ctx, a, b) {
  return a + b;
}

function* flow(ctx, n) {
  const first = yield* ctx.run(add, n, 1);
  yield* ctx.sleep(30);
  const second = yield* ctx.rpc("add", first, 10, ctx.options({ target: "theirs-ts" }));
  const one = yield* ctx.beginRpc("add", second, 100, ctx.options({ target: "theirs-ts" }));
  const two = yield* ctx.beginRpc("add", second, 1000, ctx.options({ target: "theirs-ts" }));
  return (yield* one) + (yield* two);
}

function* callsOurs(ctx, n) {
  const doubled = yield* ctx.rpc("double", n, ctx.options({ target: "ours" }));
  return (yield* ctx.rpc("double", doubled, ctx.options({ target: "ours" }))) + 1;
}

function* fails(ctx) {
  throw new TypeError("no such order");
}

function* seesOursFail(ctx) {
  try {
    yield* ctx.rpc("boom", "dry", ctx.options({ target: "ours" }));
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
  return "no error";
}

function* gate(ctx) {
  const opened = yield* ctx.promise({ timeout: 30000 });
  return yield* opened;
}

function* deep(ctx, n) {
  if (n === 0) return 0;
  return 1 + (yield* ctx.rpc("deep", n - 1, ctx.options({ target: "theirs-ts" })));
}

function* echo(ctx, value) {
  return value;
}

function tell(name, result) {
  console.log(JSON.stringify({ case: name, result }));
}

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
  return "no error";
}

// This SDK cannot search.
async function pendingBelow(parent) {
  const head = { corrId: "1", version: "2026-04-01" };
  const data = { state: "pending", tags: { "resonate:parent": parent } };
  const body = JSON.stringify({ kind: "promise.search", head, data });
  const answer = await fetch(url, { method: "POST", body });
  return (await answer.json()).data.promises;
}

async function main() {
  const r = new Resonate({ url, group: "theirs-ts" });
  for (const f of [add, flow, callsOurs, fails, seesOursFail, gate, deep, echo]) r.register(f);
  const there = r.options({ target: "theirs-ts", timeout: 60000 });
  const ours = r.options({ target: "ours", timeout: 60000 });
  const name = (text) => `${prefix}${text}`;

  tell("run", await r.run(name("run"), "add", 1, 2));
  tell("rpc", await r.rpc(name("rpc"), "add", 3, 4, there));
  tell("flow", await r.rpc(name("flow"), "flow", 1, there));
  tell("run flow", await r.run(name("run-flow"), "flow", 1));
  tell("ours", await r.rpc(name("ours"), "double", 21, ours));
  tell("calls ours", await r.rpc(name("calls-ours"), "callsOurs", 5, there));
  const value = { text: "ä€😀", list: [1, 2.5, null, true], empty: {} };
  tell("echo", JSON.stringify(await r.rpc(name("echo"), "echo", value, there)) === JSON.stringify(value));
  tell("ours echo", JSON.stringify(await r.rpc(name("ours-echo"), "echo", value, ours)) === JSON.stringify(value));
  tell("fails", await failure(r.rpc(name("fails"), "fails", there)));
  tell("ours fails", await failure(r.rpc(name("ours-fails"), "boom", "dry", ours)));
  tell("sees ours fail", await r.rpc(name("sees"), "seesOursFail", there));
  tell("deep", await r.rpc(name("deep"), "deep", 8, there));
  const handle = await r.beginRpc(name("gate"), "gate", there);
  let open = null;
  while (open === null) {
    for (const each of await pendingBelow(name("gate"))) if (each.id !== name("gate")) open = each.id;
  }
  const data = Buffer.from(JSON.stringify("open")).toString("base64");
  await r.promises.resolve(open, { data });
  tell("gate", await handle.result());
  const sums = await Promise.all([...Array(LOAD).keys()].map((n) => r.rpc(name(`load.${n}`), "add", n, n, there)));
  tell("load", sums.reduce((a, b) => a + b, 0));
  const flows = await Promise.all([...Array(LOAD / 2).keys()].map((n) => r.rpc(name(`flows.${n}`), "flow", n, there)));
  tell("load of flows", flows.reduce((a, b) => a + b, 0));
  tell("end", null);
  process.stdin.on("end", () => process.exit(0));
  process.stdin.resume();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
