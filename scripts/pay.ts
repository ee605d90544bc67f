// Pays for one document with a stock x402 client, from one of the development accounts: what a newcomer can do at once.
// npm run -s exec -- scripts/pay.ts <service url> <file> --rpc <url> [--account 9]
import { readFile } from "node:fs/promises";
import { localAccount, NEWCOMER_INDEX } from "./local/accounts.ts";
import { stockAgent } from "./local/agents.ts";
import { describeOptions, readOptions, UsageError, wholeNumber, type Option } from "./local/options.ts";

const OPTIONS: Record<string, Option> = {
  rpc: { type: "string", value: "url", about: "the chain; the client reads its channel there" },
  account: { type: "string", value: "n", about: `development account that pays, 0 to 9; ${NEWCOMER_INDEX} when left out` },
};

async function main(): Promise<number> {
  const { values, positionals } = readOptions(process.argv.slice(2), OPTIONS, true);
  const [url, file] = positionals;
  if (url === undefined || file === undefined || typeof values.rpc !== "string") {
    throw new UsageError(`usage: scripts/pay.ts <service url> <file> --rpc <url>\n\n${describeOptions(OPTIONS)}`);
  }
  const agent = stockAgent(localAccount(wholeNumber("account", values.account, 0, 9) ?? NEWCOMER_INDEX), values.rpc);
  const response = await agent.fetch(url, { method: "POST", headers: { "content-type": "text/plain" }, body: await readFile(file, "utf8") });
  const paid = response.headers.get("payment-response");
  process.stdout.write(`${response.status} ${response.statusText}, paid by ${agent.address}\n`);
  if (paid !== null) process.stdout.write(`PAYMENT-RESPONSE ${Buffer.from(paid, "base64").toString()}\n`);
  process.stdout.write(`${await response.text()}\n`);
  return response.ok ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
