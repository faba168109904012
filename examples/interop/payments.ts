// The group `payments`, in TypeScript: `charge` asks a function in Python for each price.
//
// Run it with `npx tsx payments.ts` in this folder.

import { type Context, Resonate } from "@resonatehq/sdk";
import "./node20.js";

const resonate = new Resonate({ url: "http://127.0.0.1:8001", group: "payments" });

resonate.register("charge", function* (ctx: Context, items: string[]): Generator<any, any, any> {
  let cents = 0;
  for (const item of items) {
    cents += yield* ctx.rpc<number>("price", item, ctx.options({ target: "orders" })); // in orders.py
  }
  return { cents };
});

console.log("payments serves charge");
