// Checks of a receipt that need nothing but files: each says ok, fail or unknown, and why. Pure.
import { isAddressEqual, isHex, type Address, type Hex } from "viem";
import { fromWireReceipt, inputHash, NO_CHANNEL, NONE_AGREED, SLA, outputHash, RECEIPT_EXTENSION, receiptAckSigner, receiptHash, receiptSigner, type BoughtRequest, type SignedReceipt } from "../receipt.ts";
import { firstReceiptTypes, receiptTypes } from "../typed-data.ts";
import { usageError } from "./exit.ts";

export type Check = { name: string; result: "ok" | "fail" | "unknown"; detail: string };

/** A receipt with what `pay --save-receipt` writes beside it. */
export type ReceiptFile = {
  receipt: SignedReceipt;
  /** The buyer's acknowledgement of it. */
  ack?: Hex;
  request?: { method: string; target: string; contentType: string };
  answer?: { status: number; contentType: string };
  /** That it is under the root of a claim: what `receipt prove` wrote. */
  proof?: { root: Hex; proof: Hex[]; transaction: Hex };
};

/** Finds the receipt in what somebody saved: the receipt, our own file, a PAYMENT-RESPONSE as JSON or as the header's base64. */
export function readReceiptFile(text: string): ReceiptFile {
  const value = jsonOf(text.trim()) ?? jsonOf(Buffer.from(text.trim(), "base64").toString("utf8"));
  const file = value as { receipt?: unknown; payment?: { receipt?: unknown }; extensions?: Record<string, { info?: { receipt?: unknown } }> } | undefined;
  const receipt = [file, file?.receipt, file?.payment?.receipt, file?.extensions?.[RECEIPT_EXTENSION]?.info?.receipt].find(isSignedReceipt);
  if (receipt === undefined) throw usageError("There is no receipt in it.", "It may be a receipt, what pay --save-receipt wrote, or a PAYMENT-RESPONSE header.", "receipt_malformed");
  const { ack, request, answer, proof } = file as Partial<ReceiptFile>;
  return { receipt, ...(isHex(ack) ? { ack } : {}), ...(isRequest(request) ? { request } : {}), ...(isAnswer(answer) ? { answer } : {}), ...(isProof(proof) ? { proof } : {}) };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // perhaps the other encoding
  }
}

const isText = (value: unknown): value is string => typeof value === "string";
const isRequest = (value: unknown): value is NonNullable<ReceiptFile["request"]> => ["method", "target", "contentType"].every((name) => isText((value as Record<string, unknown> | undefined)?.[name]));
const isAnswer = (value: unknown): value is NonNullable<ReceiptFile["answer"]> => Number.isInteger((value as Record<string, unknown> | undefined)?.["status"]) && isText((value as Record<string, unknown>)["contentType"]);

/** 64 steps are more than any tree has. */
const MOST_STEPS = 64;
const isWord = (value: unknown): value is Hex => isHex(value) && value.length === 66;

function isProof(value: unknown): value is NonNullable<ReceiptFile["proof"]> {
  const { root, proof, transaction } = (value ?? {}) as Partial<NonNullable<ReceiptFile["proof"]>>;
  return isWord(root) && isWord(transaction) && Array.isArray(proof) && proof.length <= MOST_STEPS && proof.every(isWord);
}

function isSignedReceipt(value: unknown): value is SignedReceipt {
  const { payload, signature, signer, domain } = (value ?? {}) as Partial<SignedReceipt>;
  if (!isHex(signature) || !isHex(signer) || typeof domain !== "object" || typeof payload !== "object" || payload === null) return false;
  const fits = { string: /^/, address: /^0x[0-9a-f]{40}$/i, bytes32: /^0x[0-9a-f]{64}$/i, uint64: /^\d{1,20}$/, uint128: /^\d{1,39}$/ };
  const { Receipt: fields } = "offer" in payload ? receiptTypes : firstReceiptTypes;
  return fields.every(({ name, type }) => {
    const value = (payload as Record<string, unknown>)[name];
    return type === "uint8" ? Number.isInteger(value) && Number(value) >= 0 && Number(value) < 256 : isText(value) && fits[type].test(value);
  });
}

export type Evidence = {
  file: ReceiptFile;
  /** Who may sign, when somebody told: --signer, or the channel's terms. */
  expectedSigner?: { address: Address; from: string };
  input?: BoughtRequest;
  output?: { status: number; contentType: string; body: Uint8Array };
  ack?: Hex;
  /** The channel's payerAuthorizer, when it is known: it may acknowledge too. */
  payerAuthorizer?: Address;
};

export async function checkReceipt({ file, expectedSigner, input, output, ack, payerAuthorizer }: Evidence): Promise<Check[]> {
  const { receipt } = file;
  const recovered = await receiptSigner(receipt).catch(() => undefined);
  const isSigner = recovered !== undefined && isAddressEqual(recovered, receipt.signer);
  return [
    { name: "signature", result: isSigner ? "ok" : "fail", detail: recovered === undefined ? "is not one" : isSigner ? `by ${recovered}` : `by ${recovered}, the receipt says ${receipt.signer}` },
    signerCheck(recovered, expectedSigner),
    contentCheck(receipt),
    hashCheck("input", receipt.payload.inputHash, input && inputHash(input), "--input gives the request's body"),
    hashCheck("output", receipt.payload.outputHash, output && outputHash(output), "--output gives the answer's body"),
    await ackCheck(receipt, ack ?? file.ack, payerAuthorizer),
  ];
}

function signerCheck(recovered: Address | undefined, expected: Evidence["expectedSigner"]): Check {
  const name = "signer";
  if (expected === undefined) return { name, result: "unknown", detail: "nobody said who may sign: --signer, or --rpc to read the channel's terms" };
  const good = recovered !== undefined && isAddressEqual(recovered, expected.address);
  return { name, result: good ? "ok" : "fail", detail: good ? `is ${expected.from}` : `${expected.from} is ${expected.address}` };
}

/** What the fields say about each other. */
function contentCheck({ payload }: SignedReceipt): Check {
  const { amount, cumulative, startedAtMs, endedAtMs, latencyMs, requestNumber, channelId, slaMet, offer, session } = fromWireReceipt(payload);
  const faults = [
    ...(cumulative < amount ? ["cumulative is less than amount"] : []),
    ...(endedAtMs < startedAtMs ? ["it ended before it started"] : []),
    ...(latencyMs > endedAtMs - startedAtMs + 1n ? ["latency is longer than start to end"] : []),
    ...(requestNumber < 1n ? ["request number 0"] : []),
    ...(channelId === NO_CHANNEL && cumulative !== amount ? ["without a channel, cumulative must be the amount"] : []),
    ...(slaMet !== undefined && slaMet > SLA.missed ? [`slaMet ${slaMet} means nothing`] : []),
    ...(offer !== session && [offer, session].includes(NONE_AGREED.offer) ? ["an offer and a session go together"] : []),
  ];
  return { name: "content", result: faults.length === 0 ? "ok" : "fail", detail: faults.length === 0 ? "fields agree with each other" : faults.join("; ") };
}

function hashCheck(name: string, stated: Hex, computed: Hex | undefined, how: string): Check {
  if (computed === undefined) return { name, result: "unknown", detail: `not compared: ${how}` };
  const good = computed === stated.toLowerCase();
  return { name, result: good ? "ok" : "fail", detail: good ? "hash matches" : `hashes to ${computed}, the receipt says ${stated}` };
}

async function ackCheck({ domain, payload }: SignedReceipt, ack: Hex | undefined, payerAuthorizer: Address | undefined): Promise<Check> {
  const name = "acknowledged";
  if (ack === undefined) return { name, result: "unknown", detail: "no acknowledgement given (--ack)" };
  const by = await receiptAckSigner(domain, receiptHash(domain, fromWireReceipt(payload)), ack).catch(() => undefined);
  const good = by !== undefined && [payload.payer, payerAuthorizer].some((party) => party !== undefined && isAddressEqual(by, party));
  return { name, result: good ? "ok" : "fail", detail: by === undefined ? "is no signature" : good ? `by ${by}` : `by ${by}, who is not the payer` };
}
