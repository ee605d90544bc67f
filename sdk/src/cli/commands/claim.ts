// tallystick claim: a receiver gets what it earned from the chain and its own voucher files. No relayer is asked.
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { getAddress, isAddressEqual, parseEventLogs, type Address, type Hex, type LocalAccount, type TransactionReceipt } from "viem";
import { sessionChannelsAbi } from "../../abi/session-channels.ts";
import { voucherTypes } from "../../typed-data.ts";
import { mapLimited, reading, refusalOf, send, simulate, type Call, type Chain } from "../chain.ts";
import { readState } from "../channels.ts";
import type { Command, Outcome } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, messageOf, usageError } from "../exit.ts";
import { usdc } from "../money.ts";
import { columns } from "../output.ts";
import { wholeNumber } from "../parse.ts";
import { bestClaims, parseVouchers, signedByPayer, type BadLine, type Claim, type Read, type Voucher } from "../vouchers.ts";

const BATCH = 50;

type Row = Claim & { claimed: bigint };
type Skipped = { channelId: Hex; reason: string };
type Plan = { rows: Row[]; alreadyClaimed: number; skipped: Skipped[] };
type Sent = { transaction: Hex; channels: number; claimedAtomic: bigint };

export const claim: Command = {
  path: "claim",
  about: "Claim what you earned from your own voucher files: works when the relayer is gone",
  args: "<file or folder>…",
  positionals: [1, 1_000],
  details: `Reads voucher files (JSON lines, as the provider side of the SDK writes them), takes the newest voucher of each channel, leaves
out what the chain says is claimed already, claims the rest in batches and settles it to the receiver. What was charged is
claimed, never more, even where a voucher would allow it. A bad line or a row that the contract refuses is left out and told;
the others go on. The key must be the receiver's (or its receiverAuthorizer's), with ether for gas. Running it again is safe.

Exit code 1 when a line or a channel could not be claimed; the JSON lists them under badLines and skipped.`,
  needs: ["chain", "key"],
  options: {
    batch: { type: "string", value: "n", about: `channels in one transaction, 1 to 200; ${BATCH} when left out` },
    "dry-run": { type: "boolean", about: "read, check and simulate; send nothing" },
  },
  examples: [
    { about: "what would be claimed?", line: "tallystick claim vouchers/ --dry-run" },
    { about: "claim and settle", line: "tallystick claim vouchers/2026-11.jsonl --rpc https://mainnet.base.org" },
    { about: "for a script", line: "tallystick claim vouchers/ --json" },
  ],
  async run(context, { values, positionals }) {
    const size = wholeNumber("batch", values["batch"], 1, 200) ?? BATCH;
    const [chain, account] = [await context.chain(), await context.account()];
    const read = await readFiles(context, chain, positionals);
    const plan = await planFor(context, chain, account, read);
    const { good, refused } = await sift(context, chain, account, plan.rows, size);
    plan.skipped.push(...refused);
    const sentNow: Sent[] = [];
    const settled: Settled[] = [];
    if (values["dry-run"] !== true) {
      for (let at = 0; at < good.length; at += size) {
        context.signal.throwIfAborted();
        await sendBatch(context, chain, account, good.slice(at, at + size), { sentNow, settled, skipped: plan.skipped });
      }
      settled.push(...(await settleRest(context, chain, account, read, settled)));
    }
    return outcome({ context, account, read, plan, good, sentNow, settled, dry: values["dry-run"] === true });
  },
};

async function readFiles(context: Context, { domain }: Chain, paths: string[]): Promise<Read> {
  const all: Read = { vouchers: [], bad: [] };
  for (const file of (await Promise.all(paths.map(filesAt))).flat()) {
    context.output.progress(`reading ${file} …`);
    const { vouchers, bad } = parseVouchers(await readFile(file, "utf8"), file, domain);
    for (const voucher of vouchers) all.vouchers.push(voucher);
    for (const line of bad) all.bad.push(line);
  }
  return all;
}

/** By recovery where a key signs; a contract wallet (payerAuthorizer 0) is asked on chain. */
async function isGood({ client, domain }: Chain, voucher: Voucher): Promise<boolean> {
  const recovered = await signedByPayer(voucher, domain);
  if (recovered !== undefined) return recovered;
  const message = { channelId: voucher.channelId, maxClaimableAmount: voucher.ceiling };
  return reading(() => client.verifyTypedData({ address: voucher.config.payer, domain, types: voucherTypes, primaryType: "Voucher", message, signature: voucher.signature }));
}

async function filesAt(path: string): Promise<string[]> {
  const kind = await stat(path).catch(() => undefined);
  if (kind === undefined) throw usageError(`${path} does not exist.`, undefined, "file_unreadable");
  if (!kind.isDirectory()) return [path];
  const found = (await readdir(path, { recursive: true })).filter((name) => name.endsWith(".jsonl")).map((name) => join(path, name));
  if (found.length === 0) throw usageError(`${path} holds no .jsonl files.`, undefined, "file_unreadable");
  return found.sort();
}

/** What is left to claim once the chain was asked. */
async function planFor(context: Context, chain: Chain, account: LocalAccount, read: Read): Promise<Plan> {
  const plan: Plan = { rows: [], alreadyClaimed: 0, skipped: [] };
  const { claims, bad } = await bestClaims(read.vouchers, (voucher) => isGood(chain, voucher));
  read.bad.push(...bad);
  let done = 0;
  await mapLimited(claims, async (wanted) => {
    const { channelId, config, total } = wanted;
    const { balance, totalClaimed } = await readState(chain, { id: channelId, config });
    context.output.progress(`asking the chain: ${++done} of ${claims.length} channels`);
    if (total <= totalClaimed) return void plan.alreadyClaimed++;
    if (!mayClaim(config, account.address)) return void plan.skipped.push({ channelId, reason: `its receiver is ${config.receiver}, the key is of ${account.address}` });
    if (balance <= totalClaimed) return void plan.skipped.push({ channelId, reason: "the channel holds nothing more (withdrawn or refunded)" });
    // The rest was taken back: what is there is better than nothing.
    plan.rows.push({ ...wanted, total: total < balance ? total : balance, claimed: totalClaimed });
  });
  plan.rows.sort((a, b) => (a.config.receiver + a.config.token + a.channelId < b.config.receiver + b.config.token + b.channelId ? -1 : 1));
  return plan;
}

function mayClaim({ receiver, receiverAuthorizer }: Claim["config"], address: Address): boolean {
  return isAddressEqual(receiver, address) || isAddressEqual(receiverAuthorizer, address);
}

function claimArgs(rows: readonly Row[]) {
  return rows.map(({ config, total, voucher }) => ({ voucher: { channel: config, maxClaimableAmount: voucher.ceiling }, signature: voucher.signature, totalClaimed: total }));
}

/** Simulates batches; where the contract refuses one, halves it until the bad rows are alone. */
async function sift(context: Context, chain: Chain, account: LocalAccount, rows: readonly Row[], size: number): Promise<{ good: Row[]; refused: Skipped[] }> {
  const result = { good: [] as Row[], refused: [] as Skipped[] };
  for (let at = 0; at < rows.length; at += size) {
    context.output.progress(`simulating ${Math.min(at + size, rows.length)} of ${rows.length} channels`);
    await siftBatch(chain, account, rows.slice(at, at + size), result);
  }
  return result;
}

async function siftBatch(chain: Chain, account: LocalAccount, rows: readonly Row[], result: { good: Row[]; refused: Skipped[] }): Promise<void> {
  const reason = await simulate(chain, account, { functionName: "claim", args: [claimArgs(rows)] }).then(() => undefined, refusalOrThrow);
  if (reason === undefined) return void result.good.push(...rows);
  if (rows.length === 1) return void result.refused.push({ channelId: rows[0]!.channelId, reason });
  const half = rows.length >> 1;
  await siftBatch(chain, account, rows.slice(0, half), result);
  await siftBatch(chain, account, rows.slice(half), result);
}

function refusalOrThrow(error: unknown): string {
  const reason = refusalOf(error);
  if (reason === undefined) throw error;
  return reason;
}

type Settled = { receiver: Address; token: Address; amountAtomic: bigint; transaction: Hex; failed?: true };
type Books = { sentNow: Sent[]; settled: Settled[]; skipped: Skipped[] };

/** One transaction. When the world moved since the simulation, its rows are sifted and sent again without the bad ones. */
async function sendBatch(context: Context, chain: Chain, account: LocalAccount, rows: readonly Row[], books: Books): Promise<void> {
  if (rows.length === 0) return;
  const progress = (hash: Hex) => context.output.progress(`claiming ${rows.length} channels: ${hash}`);
  try {
    const receipt = await send(chain, account, await claimCall(chain, rows), progress);
    const claimed = parseEventLogs({ abi: sessionChannelsAbi, eventName: "Claimed", logs: receipt.logs });
    books.sentNow.push({ transaction: receipt.transactionHash, channels: claimed.length, claimedAtomic: claimed.reduce((sum, { args }) => sum + args.claimAmount, 0n) });
    books.settled.push(...settledIn(receipt));
  } catch (error) {
    if (refusalOf(error) === undefined) throw partly(error, books);
    const again = { good: [] as Row[], refused: [] as Skipped[] };
    await siftBatch(chain, account, rows, again);
    books.skipped.push(...again.refused);
    // No row is bad by itself, yet the call is: only less of them can be tried.
    if (again.refused.length === 0 && rows.length === 1) throw partly(error, books);
    const parts = again.refused.length > 0 ? [again.good] : [rows.slice(0, rows.length >> 1), rows.slice(rows.length >> 1)];
    for (const part of parts) await sendBatch(context, chain, account, part, books);
  }
}

/** claimAndSettle where the contract has it; the canonical one has claim, and settle comes after. */
async function claimCall({ client, contract }: Chain, rows: readonly Row[]): Promise<Call> {
  const additions = await client.readContract({ address: contract, abi: sessionChannelsAbi, functionName: "PACKED_CLAIM_TYPEHASH" }).then(() => true, () => false);
  return additions ? { functionName: "claimAndSettle", args: [claimArgs(rows), "0x"] } : { functionName: "claim", args: [claimArgs(rows)] };
}

function settledIn(receipt: TransactionReceipt): Settled[] {
  const of = (eventName: "Settled" | "SettleFailed") =>
    parseEventLogs({ abi: sessionChannelsAbi, eventName, logs: receipt.logs }).map(({ args: { receiver, token, amount } }) => ({ receiver, token, amountAtomic: amount, transaction: receipt.transactionHash }));
  return [...of("Settled"), ...of("SettleFailed").map((entry) => ({ ...entry, failed: true as const }))];
}

/** What is claimed and not paid out yet: from now, from an earlier run, or because the relayer claimed and vanished. */
async function settleRest(context: Context, chain: Chain, account: LocalAccount, { vouchers }: Read, now: Settled[]): Promise<Settled[]> {
  const receivers = new Map(vouchers.filter(({ config }) => mayClaim(config, account.address)).map(({ config: { receiver, token } }) => [`${receiver}${token}`, { receiver, token }]));
  const settled: Settled[] = [];
  for (const { receiver, token } of receivers.values()) {
    // The token refused this very transfer a moment ago.
    if (now.some((entry) => entry.failed && getAddress(entry.receiver) === receiver && getAddress(entry.token) === token)) continue;
    const [claimed, paid] = await reading(() => chain.client.readContract({ address: chain.contract, abi: sessionChannelsAbi, functionName: "receivers", args: [receiver, token] }));
    if (claimed <= paid) continue;
    try {
      const receipt = await send(chain, account, { functionName: "settle", args: [receiver, token] }, (hash) => context.output.progress(`settling: ${hash}`));
      settled.push(...settledIn(receipt));
    } catch (error) {
      if (refusalOf(error) === undefined) throw error;
      context.output.note(`The token refuses to pay ${usdc(claimed - paid)} USDC to ${receiver}: ${messageOf(error)} The claim stands.`);
    }
  }
  return settled;
}

/** An error after something was sent says what was. */
function partly(error: unknown, { sentNow }: Books): unknown {
  if (sentNow.length === 0 || !(error instanceof CliError)) return error;
  const { code, message, exit, hint, retry, extra } = error;
  return new CliError({ code, exit, hint, retry, detail: `${message} Before that, ${sentNow.length} transactions claimed ${usdc(sum(sentNow))} USDC.`, extra: { ...extra, claims: sentNow.map(sentJson) } });
}

const sum = (sent: readonly Sent[]) => sent.reduce((total, { claimedAtomic }) => total + claimedAtomic, 0n);
const sentJson = ({ transaction, channels, claimedAtomic }: Sent) => ({ transaction, channels, claimedAtomic: claimedAtomic.toString() });

type Result = { context: Context; account: LocalAccount; read: Read; plan: Plan; good: Row[]; sentNow: Sent[]; settled: Settled[]; dry: boolean };

function outcome({ context, account, read, plan, good, sentNow, settled, dry }: Result): Outcome {
  const paid = settled.filter(({ failed }) => failed !== true).reduce((total, { amountAtomic }) => total + amountAtomic, 0n);
  const claimable = good.reduce((total, { total: to, claimed }) => total + to - claimed, 0n);
  const problems = read.bad.length + plan.skipped.length + settled.filter(({ failed }) => failed).length;
  const { paint } = { paint: context.output.paint.bind(context.output) };
  const rows: [string, string][] = [
    ["vouchers read", String(read.vouchers.length)],
    ["bad lines", read.bad.length === 0 ? "0" : paint("yellow", String(read.bad.length))],
    ["claimed earlier", `${plan.alreadyClaimed} channels`],
    [dry ? "would claim" : "claimed", dry ? `${usdc(claimable)} USDC from ${good.length} channels` : `${usdc(sum(sentNow))} USDC from ${sentNow.reduce((count, { channels }) => count + channels, 0)} channels`],
    ...(dry ? [] : [["settled", `${usdc(paid)} USDC`] as [string, string]]),
    ...sentNow.map(({ transaction }): [string, string] => ["transaction", transaction]),
  ];
  return {
    exit: problems > 0 ? "failed" : "ok",
    json: {
      account: account.address,
      vouchers: read.vouchers.length,
      badLines: read.bad,
      alreadyClaimed: plan.alreadyClaimed,
      skipped: plan.skipped,
      ...(dry ? { dryRun: true, claimableAtomic: claimable.toString(), channels: good.length } : {}),
      claimedAtomic: sum(sentNow).toString(),
      claims: sentNow.map(sentJson),
      settledAtomic: paid.toString(),
      settlements: settled.map(({ amountAtomic, ...rest }) => ({ ...rest, amountAtomic: amountAtomic.toString() })),
    },
    text: [columns(rows), ...complaints(read.bad, plan.skipped)].join("\n"),
  };
}

const SHOWN = 20;

function complaints(bad: readonly BadLine[], skipped: readonly Skipped[]): string[] {
  const lines = [...bad.map(({ at, reason }) => [at, reason]), ...skipped.map(({ channelId, reason }) => [channelId, reason])];
  if (lines.length === 0) return [];
  const more = lines.length > SHOWN ? [`  … and ${lines.length - SHOWN} more; --json lists all`] : [];
  return ["", "Left out:", columns(lines.slice(0, SHOWN), { indent: "  " }), ...more];
}
