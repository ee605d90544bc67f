// Buys one call with a plain USDC transfer: a wallet and fetch, no SDK. The key comes by standard input, never as an argument.
//   node docs/examples/pay-by-transfer.ts <relayer url> <service> <path> <rpc url> < key
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { createWalletClient, defineChain, erc20Abi, http, publicActions, type Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";

type Terms = { payment: { requestId: string; recipient: Hex; token: Hex; amountUsdc: string; amountAtomic: string; chainId: number; message: string } };

const [relayer, providerId, path, rpcUrl] = process.argv.slice(2);
if (relayer === undefined || providerId === undefined || path === undefined || rpcUrl === undefined) throw new Error("usage: pay-by-transfer.ts <relayer url> <service> <path> <rpc url> < key");
const account = privateKeyToAccount(readFileSync(0, "utf8").trim() as Hex);
const post = (to: string, body: unknown) => fetch(relayer + to, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

// 1. What does it cost, and who is paid?
const asked = await post("/api/pay/request", { providerId, path });
if (asked.status !== 402) throw new Error(await asked.text());
const { payment } = (await asked.json()) as Terms;

// 2. Pay exactly that, by a plain transfer.
const chain = defineChain({ id: payment.chainId, name: "chain", nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 }, rpcUrls: { default: { http: [rpcUrl] } } });
const wallet = createWalletClient({ account, chain, transport: http(rpcUrl) }).extend(publicActions);
const txHash = await wallet.writeContract({ address: payment.token, abi: erc20Abi, functionName: "transfer", args: [payment.recipient, BigInt(payment.amountAtomic)] });

// 3. Name the transaction. Everybody can read its hash, so its sender signs which request it pays for.
const signature = await account.signMessage({ message: payment.message });
for (;;) {
  const answer = await post("/api/pay/submit", { requestId: payment.requestId, txHash, signature, expectedAmountUsdc: payment.amountUsdc, providerId });
  if (answer.status === 202) {
    await sleep(Number(answer.headers.get("retry-after")) * 1000); // not mined, or not deep enough yet
    continue;
  }
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  process.stdout.write(`${await answer.text()}\n${payment.amountUsdc} USDC, transaction ${txHash}, payment ${answer.headers.get("tallystick-payment-id")}\n`);
  break;
}
