// A client in TypeScript, which calls a function in Python and waits for its result.
//
// Run it with `npx tsx buy.ts ID ITEM...` in this folder.

import { Resonate } from "@resonatehq/sdk";
import "./node20.js";

const [id, ...items] = process.argv.slice(2);
const resonate = new Resonate({ url: "http://127.0.0.1:8001", group: "shop" });
console.log(await resonate.rpc(id, "order", items, resonate.options({ target: "orders" })));
process.exit();
