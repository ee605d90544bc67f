// An agent that pays for what it fetches: limits, several calls at once, what it spent, and its money back. The key comes by standard
// input, never as an argument.
//   node docs/examples/agent.ts <url> <rpc url> < key
import { readFileSync } from "node:fs";
import { privateKeyToAccount } from "viem/accounts";
import { createAgent } from "../../sdk/src/agent/agent.ts";

const [url, rpcUrl] = process.argv.slice(2);
if (url === undefined || rpcUrl === undefined) throw new Error("usage: agent.ts <url> <rpc url> < key");

const agent = createAgent({
  account: privateKeyToAccount(readFileSync(0, "utf8").trim() as `0x${string}`),
  rpcUrl,
  // Atomic units: of USDC, a millionth. They count what is signed, so they hold even when a seller lies.
  limits: { perCall: 10_000n, perHour: 100_000n, total: 500_000n },
  deposit: { calls: 20 },
  onPayment: ({ paymentId, charged, receipt }) => process.stdout.write(`paid ${charged} for ${paymentId}, receipt ${receipt === undefined ? "none" : `of ${receipt.payload.latencyMs} ms`}\n`),
});

const answers = await Promise.all(["one", "two", "three"].map((body) => agent.fetch(url, { method: "POST", body })));
for (const answer of answers) process.stdout.write(`${answer.status} ${(await answer.text()).slice(0, 80)}\n`);

const { wallet, channels } = await agent.wallet.getBalance();
process.stdout.write(`wallet ${wallet}, in channels ${channels.map(({ free }) => free).join(", ")} free, signed away ${await agent.spent()}\n`);
for (const withdrawal of await agent.wallet.withdraw()) process.stdout.write(`${withdrawal.state} ${"amount" in withdrawal ? withdrawal.amount : 0n}\n`);
await agent.close();
