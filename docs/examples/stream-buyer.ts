// Buys a streamed answer by the token, and stops after so many of them or when the budget is spent. The key comes by standard input,
// never as an argument.
//   node docs/examples/stream-buyer.ts <url> <rpc url> <file to summarise> <tokens> <budget, atomic units> < key
import { readFileSync } from "node:fs";
import { privateKeyToAccount } from "viem/accounts";
import { createAgent } from "../../sdk/src/agent/agent.ts";

const [url, rpcUrl, file, tokens, budget] = process.argv.slice(2);
if (url === undefined || rpcUrl === undefined || file === undefined || tokens === undefined || budget === undefined) {
  throw new Error("usage: stream-buyer.ts <url> <rpc url> <file> <tokens> <budget> < key");
}
const account = privateKeyToAccount(readFileSync(0, "utf8").trim() as `0x${string}`);
const agent = createAgent({ account, rpcUrl, limits: { total: BigInt(budget) } });

// Vouchers go ahead of the words, ten at a time, never above the budget; leaving the loop closes the connection.
const stream = await agent.stream(url, { maxTotal: BigInt(budget), unitsAhead: 10 }, { method: "POST", body: readFileSync(file, "utf8") });
let words = 0;
for await (const { data } of stream) {
  process.stdout.write(`${data} `);
  if (++words === Number(tokens)) break;
}
// Whether we left or the seller ended it: what is charged is what came, and the seller signed for it.
const { charged, reason, receipt } = stream.end!;
process.stdout.write(`\n${stream.units} tokens, ${charged} atomic units, ${reason}, receipt ${receipt?.payload.paymentId ?? "none"}\n`);
await agent.close();
