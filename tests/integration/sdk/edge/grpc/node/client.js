// A client of the gRPC service in JavaScript: node client.js HOST:PORT PROTO
"use strict";

const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, proto] = process.argv.slice(2);
const definition = loader.loadSync(proto, { keepCase: true, longs: Number, enums: String, oneofs: true });
const { Understudy } = grpc.loadPackageDefinition(definition).understudy.v1;
const client = new Understudy(address, grpc.credentials.createInsecure());

// Return a promise for the answer to a request, which may take 30 s.
function ask(method, request) {
  return new Promise((resolve, reject) => {
    const deadline = Date.now() + 30_000;
    client[method](request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function main() {
  const sum = await ask("Start", { group: "shop", function: "add", json: "[4, 38]", id: "js-sum", wait: 20 });
  console.log(JSON.stringify({ state: sum.state, value: JSON.parse(sum.value.json), whole: sum.created_at % 1 === 0 }));

  const big = await ask("Start", { group: "shop", function: "echo", json: "[9007199254740993]", wait: 20 });
  console.log(JSON.stringify({ big: big.value.json }));

  const failed = await ask("Start", { group: "shop", function: "fail", json: '["no stock"]', wait: 20 });
  console.log(JSON.stringify({ state: failed.state, error: `${failed.error.type}: ${failed.error.message}` }));

  try {
    await ask("Start", { group: "shop", function: "ad" });
  } catch (error) {
    console.log(JSON.stringify({ code: grpc.status[error.code], details: error.details }));
  }

  await ask("Start", { group: "shop", function: "approve", id: "js-approve" });
  const events = [];
  const stream = client.Watch({ id: "js-approve" });
  for await (const { event, change, end } of stream) {
    if (event === "change") events.push(`${change.id} ${change.state}`);
    if (event === "end") events.push(`end ${end.call.value.json}`);
    if (event === "change" && change.id === "js-approve.answer" && change.state === "STATE_PENDING") {
      await ask("Settle", { id: "js-approve.answer", json: '"yes"' });
    }
  }
  console.log(JSON.stringify(events));

  const { calls } = await ask("List", { prefix: "js-", group: "shop" });
  console.log(JSON.stringify(calls.map((call) => call.id)));
  client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
