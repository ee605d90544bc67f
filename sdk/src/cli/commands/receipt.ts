// tallystick receipt verify: is this receipt real, and is it about what I sent and got?
import { readFile, writeFile } from "node:fs/promises";
import { isAddress, isHex, type Address, type Hex } from "viem";
import { fromWireReceipt, NO_CHANNEL, receiptHash, type SignedReceipt } from "../../receipt.ts";
import { discoverChannels } from "../channels.ts";
import type { Command, Input, Outcome } from "../command.ts";
import type { Context } from "../context.ts";
import { usageError } from "../exit.ts";
import { usdc } from "../money.ts";
import { columns, utc, type Paint } from "../output.ts";
import { wholeNumber } from "../parse.ts";
import { checkReceipt, readReceiptFile, type Check, type Evidence, type ReceiptFile } from "../receipt-check.ts";
import { checkProof } from "../receipt-proof.ts";
import { checkSession, readSession } from "../session-check.ts";
import type { SessionFile } from "../../negotiation/session-file.ts";
import { callRelayer, fetchReceipt } from "../relayer-api.ts";

const PAYMENT_ID = /^pay_[0-9a-f]{32}$/;
const COLOUR: Record<Check["result"], Paint> = { ok: "green", fail: "red", unknown: "yellow" };

export const receiptVerify: Command = {
  path: "receipt verify",
  about: "Check a receipt: signature, signer, hashes of what was sent and got, acknowledgement, its proof",
  args: "[file | - | payment id]",
  positionals: [0, 1],
  details: `With --session, a negotiated session as a whole, offline: offer, the policy behind it, acceptance, receipts and vouchers.

Takes what pay --save-receipt wrote, a receipt, or a PAYMENT-RESPONSE header; - reads stdin; a payment id is fetched from the
relayer first (its parties only). Checks that lack something to compare with are shown as unknown. With --rpc, or --local, the
channel's terms are read from the chain, which name the key that may sign.

What receipt prove wrote has a proof beside the receipt. It is checked offline, and with --rpc on chain too: that the root rode in the
PackedClaimed event of the transaction, by the key that signed the receipt, that the claim covers the receipt's charge, and that the
BazaarRegistry takes the proof.

Exit code 1 when a check fails; with --strict also when one is unknown.`,
  needs: ["chain", "relayer", "key"],
  options: {
    signer: { type: "string", value: "address", about: "who may sign: the seller's receiverAuthorizer" },
    input: { type: "string", value: "file", about: "body of the request, to compare with the input hash; - for none" },
    method: { type: "string", value: "name", about: "its method; from the saved receipt, else POST with a body and GET without" },
    target: { type: "string", value: "path", about: "its path and query; those of the resource when left out" },
    "input-type": { type: "string", value: "type", about: "its content type" },
    output: { type: "string", value: "file", about: "body of the answer, to compare with the output hash" },
    status: { type: "string", value: "n", about: "its status; from the saved receipt, else 200" },
    "output-type": { type: "string", value: "type", about: "its content type" },
    ack: { type: "string", value: "signature", about: "the buyer's acknowledgement" },
    session: { type: "string", value: "file", about: "instead of a receipt: what negotiate --save-session wrote" },
    strict: { type: "boolean", about: "a check that cannot be made is a failure" },
  },
  examples: [
    { about: "everything, from the files of one call", line: "tallystick pay https://…/s/docs/analyze -d @in.txt -o out.json --save-receipt r.json\n  tallystick receipt verify r.json --input in.txt --output out.json --signer 0x5FbD…aa3" },
    { about: "a receipt out of a header", line: "echo \"$PAYMENT_RESPONSE\" | tallystick receipt verify - --json" },
    { about: "what a negotiated session was charged, against what was agreed, offline", line: "tallystick receipt verify --session session.json" },
    { about: "by payment id, with the channel's terms from the chain", line: "tallystick receipt verify pay_0193b1c2d4e5f60718293a4b5c6d7e8f --local" },
  ],
  async run(context, input) {
    const session = input.values["session"] as string | undefined;
    const [from] = input.positionals;
    if ((from === undefined) === (session === undefined)) throw usageError("Give either a receipt or --session.");
    if (from === undefined) return sessionOutcome(context, await readSessionFrom(session!));
    const file = await load(context, from);
    const evidence = await gather(context, file, input);
    const checks = [...(await checkReceipt(evidence)), ...(await checkProof(file, context.settings.rpcUrl === undefined ? undefined : await context.chain()))];
    return outcome(context, file, checks, input.values["strict"] === true);
  },
};

export const receiptProve: Command = {
  path: "receipt prove",
  about: "Fetch a receipt of yours with the proof that it is under the root of a claim on chain",
  args: "<payment id>",
  positionals: [1, 1],
  details: "Only the parties of a payment get it. The file has all that receipt verify needs: whoever has it can check it without the relayer.",
  needs: ["relayer", "key"],
  options: { out: { type: "string", value: "file", about: "where to write it; printed when left out" } },
  examples: [{ about: "prove it, and check the proof on chain", line: "tallystick receipt prove pay_0193b1c2d4e5f60718293a4b5c6d7e8f --out proof.json\n  tallystick receipt verify proof.json --rpc https://mainnet.base.org" }],
  async run(context, { positionals: [paymentId], values }) {
    if (!PAYMENT_ID.test(paymentId!)) throw usageError("A payment id is pay_ and 32 hex digits.");
    const { receipt, receiptHash: hash, ack, root, proof, transaction, state } = await callRelayer<Proved>(context, `/api/v1/receipts/${paymentId}/proof`);
    const json = { receipt, ...(ack === undefined ? {} : { ack: ack.signature }), proof: { receiptHash: hash, root, proof, transaction, state } };
    const file = values["out"] as string | undefined;
    if (file !== undefined) await writeFile(file, `${JSON.stringify(json, undefined, 2)}\n`);
    return { json: { ...json, ...(file === undefined ? {} : { file }) }, text: file === undefined ? JSON.stringify(json, undefined, 2) : columns([["root", root], ["transaction", `${transaction} (${state})`], ["steps", String(proof.length)], ["file", file]]) };
  },
};

type Proved = { receipt: SignedReceipt; receiptHash: Hex; ack?: { signature: Hex }; root: Hex; proof: Hex[]; transaction: Hex; state: string };

async function load(context: Context, from: string): Promise<ReceiptFile> {
  if (PAYMENT_ID.test(from)) return readReceiptFile(JSON.stringify(await fetchReceipt(context, from)));
  if (from === "-") return readReceiptFile(new TextDecoder().decode(await context.surroundings.readStdin()));
  return readReceiptFile(new TextDecoder().decode(await bytesOf(from)));
}

async function bytesOf(path: string): Promise<Uint8Array> {
  return readFile(path).catch(() => {
    throw usageError(`${path} cannot be read.`, undefined, "file_unreadable");
  });
}

async function gather(context: Context, file: ReceiptFile, { values }: Input): Promise<Evidence> {
  const text = (name: string) => values[name] as string | undefined;
  const { payload } = file.receipt;
  const [signer, ack] = [text("signer"), text("ack")];
  if (signer !== undefined && !isAddress(signer)) throw usageError("--signer must be an address with a right checksum.");
  if (ack !== undefined && !isHex(ack)) throw usageError("--ack must be a signature in hex.");
  const terms = context.settings.rpcUrl === undefined || payload.channelId === NO_CHANNEL ? undefined : await termsOf(context, payload.channelId);
  const evidence: Evidence = { file };
  if (signer !== undefined) evidence.expectedSigner = { address: signer as Address, from: "the signer you named" };
  else if (terms !== undefined) evidence.expectedSigner = { address: terms.receiverAuthorizer, from: "the channel's receiverAuthorizer" };
  if (terms !== undefined) evidence.payerAuthorizer = terms.payerAuthorizer;
  if (ack !== undefined) evidence.ack = ack as Hex;
  const [input, output] = [text("input"), text("output")];
  if (input !== undefined) {
    const body = input === "-" ? new Uint8Array() : await bytesOf(input);
    evidence.input = {
      method: text("method") ?? file.request?.method ?? (body.length > 0 ? "POST" : "GET"),
      target: text("target") ?? file.request?.target ?? targetOf(payload.resource),
      contentType: text("input-type") ?? file.request?.contentType ?? "",
      body,
    };
  }
  if (output !== undefined) {
    const status = wholeNumber("status", text("status"), 100, 599) ?? file.answer?.status ?? 200;
    evidence.output = { status, contentType: text("output-type") ?? file.answer?.contentType ?? "", body: await bytesOf(output) };
  }
  return evidence;
}

async function termsOf(context: Context, channelId: Hex) {
  const { channels } = await discoverChannels(await context.chain(), { channelId, signal: context.signal, onProgress: (done) => context.output.progress(`looking for the channel's terms … ${done} %`) });
  return channels[0]?.config;
}

const readSessionFrom = async (path: string): Promise<SessionFile> => readSession(new TextDecoder().decode(await bytesOf(path)));

async function sessionOutcome({ output }: Context, file: SessionFile): Promise<Outcome> {
  const checks = await checkSession(file);
  const good = checks.every(({ result }) => result === "ok");
  const lines = checks.map(({ name, result, detail }) => [output.paint(COLOUR[result], result), name, detail]);
  return { exit: good ? "ok" : "failed", json: { valid: good, checks, chainId: file.chainId, sessionChannels: file.sessionChannels }, text: columns(lines) };
}

function targetOf(resource: string): string {
  const url = URL.canParse(resource) ? new URL(resource) : undefined;
  return url === undefined ? resource : `${url.pathname}${url.search}`;
}

function outcome({ output }: Context, { receipt }: ReceiptFile, checks: Check[], strict: boolean): Outcome {
  const good = checks.every(({ result }) => result === "ok" || (!strict && result === "unknown"));
  const { payload, signer, domain } = receipt;
  const hash = receiptHash(domain, fromWireReceipt(payload));
  const facts: [string, string][] = [
    ["payment", payload.paymentId],
    ["resource", payload.resource],
    ["charged", `${usdc(BigInt(payload.amount))} USDC (request ${payload.requestNumber}, ${usdc(BigInt(payload.cumulative))} USDC in all)`],
    ["payer", payload.payer],
    ["receiver", payload.receiver],
    ["when", `${utc(BigInt(payload.startedAtMs) / 1_000n)}, ${payload.latencyMs} ms`],
  ];
  const lines = checks.map(({ name, result, detail }) => [output.paint(COLOUR[result], result), name, detail]);
  return {
    exit: good ? "ok" : "failed",
    json: { valid: good, receiptHash: hash, signer, checks, receipt: payload },
    text: `${columns(facts)}\n\n${columns(lines)}`,
  };
}
