// The cryptography of one paid call, each step beside the same step done with the stock libraries: viem for hashes and
// signatures, @x402/core for headers. One core, both in the same run, a batch of each in turn so that both meet the same machine.
import { decodePaymentSignatureHeader, encodePaymentResponseHeader } from "@x402/core/http";
import { PaymentPayloadV2Schema } from "@x402/core/schemas";
import type { SettleResponse } from "@x402/core/types";
import { getAddress, keccak256, recoverAddress, recoverTypedDataAddress, type Hex } from "viem";
import { privateKeyToAccount, sign } from "viem/accounts";
import { decodeEnvelope, decodeSchemePayload } from "../relayer/src/capabilities/gateway/schemas.ts";
import { keyringFromPrivateKeys } from "../relayer/src/chain/keyring.ts";
import { keccak } from "../relayer/src/crypto/keccak.ts";
import { recoverSigner, signDigest } from "../relayer/src/crypto/secp256k1.ts";
import { createHasher } from "../relayer/src/crypto/voucher.ts";
import { encodePaymentResponse } from "../relayer/src/http/x402-headers.ts";
import { SESSION_CHANNELS } from "../sdk/src/constants.ts";
import { NONE_AGREED, toWireReceipt, type Agreed, type Receipt } from "../sdk/src/receipt.ts";
import { channelIdOf, receiptDomain, receiptTypes, sessionChannelsDomain, voucherTypes, x402ReceiptDomain, x402ReceiptTypes, type ChannelConfig } from "../sdk/src/typed-data.ts";
import { columns, commit, machine, progress, type Report } from "./report.ts";

type Act = () => unknown;
/** Nanoseconds an operation: the median and the 99th percentile of the batches. */
export type Timing = { p50Ns: number; p99Ns: number };
export type CryptoRow = { name: string; operations: number; ours: Timing; stock: Timing; ratio: number };
export type CryptoReport = Report & { machine: string; commit: string; rows: CryptoRow[] };

const CHAIN_ID = 84532;
const NETWORK = `eip155:${CHAIN_ID}`;
const RESOURCE = "http://127.0.0.1:4020/s/weather/forecast?city=paris";
const TOKEN = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
/** keccak256 of nothing anybody holds money under. */
const KEYS = { buyer: keccak256("0x01"), seller: keccak256("0x02") };

const channels = sessionChannelsDomain(CHAIN_ID, SESSION_CHANNELS);
const receipts = receiptDomain(CHAIN_ID, SESSION_CHANNELS);
const hasher = createHasher(channels);
const seller = privateKeyToAccount(KEYS.seller);
const signer = keyringFromPrivateKeys([KEYS.seller]).signerFor(seller.address);

// ------------------------------------------------------------------ one paid call

type PaidCall = { header: string; config: ChannelConfig; channelId: Hex; ceiling: bigint; signature: Hex; receipt: Receipt & Agreed; settled: SettleResponse };

/** What a stock client sends with its nth call and what it is answered, with real signatures. */
async function paidCall(): Promise<PaidCall> {
  const buyer = privateKeyToAccount(KEYS.buyer);
  const config = { payer: buyer.address, payerAuthorizer: buyer.address, receiver: seller.address, receiverAuthorizer: seller.address, token: TOKEN, withdrawDelay: 86_400, salt: keccak256("0x03") } as const;
  const [channelId, ceiling] = [channelIdOf(channels, config), 1_234_567n];
  const signature = await buyer.signTypedData({ domain: channels, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount: ceiling } });
  const paymentId = "0199f0a4b7d07c3d9e62a1f4c8b3d5e7";
  const extra = {
    name: "USDC", version: "2", assetTransferMethod: "eip3009", receiverAuthorizer: seller.address, withdrawDelay: 86_400, minDeposit: "100000", paymentId,
    tallystick: { version: 1, maxInFlight: 64, scope: "/s/weather", collector: SESSION_CHANNELS },
  };
  const envelope = {
    x402Version: 2,
    resource: { url: RESOURCE, description: "Forecasts" },
    accepted: { scheme: "batch-settlement", network: NETWORK, amount: "1000", asset: TOKEN, payTo: seller.address, maxTimeoutSeconds: 60, extra },
    payload: { type: "voucher", channelConfig: config, voucher: { channelId, maxClaimableAmount: ceiling.toString(), signature } },
  };
  const receipt: Receipt & Agreed = {
    paymentId, scheme: "batch-settlement", resource: RESOURCE, payer: buyer.address, receiver: seller.address, token: TOKEN, channelId, requestNumber: 1235n,
    inputHash: keccak256("0x04"), outputHash: keccak256("0x05"), startedAtMs: 1_800_000_000_000n, endedAtMs: 1_800_000_000_012n, latencyMs: 12n, amount: 1000n, cumulative: ceiling, ...NONE_AGREED,
  };
  const channelState = { channelId, balance: "10000000", totalClaimed: "0", withdrawRequestedAt: 0, refundNonce: "0", chargedCumulativeAmount: ceiling.toString() };
  const signed = { format: "eip712", domain: receipts, payload: toWireReceipt(receipt), signature, signer: seller.address };
  const settled: SettleResponse = {
    success: true, payer: buyer.address, transaction: "", network: NETWORK, amount: "", extra: { chargedAmount: "1000", paymentId, channelState },
    extensions: { "offer-receipt": { info: { receipt: { format: "eip712", payload: x402Receipt(receipt), signature } } }, "tallystick-receipt": { info: { receipt: signed } } },
  };
  return { header: Buffer.from(JSON.stringify(envelope)).toString("base64"), config, channelId, ceiling, signature, receipt, settled };
}

const x402Receipt = ({ payer, endedAtMs }: Receipt) => ({ version: 1, network: NETWORK, resourceUrl: RESOURCE, payer, issuedAt: Number(endedAtMs / 1000n), transaction: "" });

// ------------------------------------------------------------------ each step, ours and stock

type Step = { name: string; /** Operations a batch. */ batch: number; ours: Act; stock: Act };

function stepsOf(call: PaidCall): Step[] {
  const { config, channelId, ceiling, signature, receipt, header, settled } = call;
  const digest = hasher.voucherDigest(channelId, ceiling);
  const key = Buffer.from(KEYS.seller.slice(2), "hex");
  const frozen = Object.freeze({ ...config });
  const [short, long] = [Buffer.alloc(66, 7), Buffer.alloc(576, 7)];
  const stockVoucher = { domain: channels, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount: ceiling }, signature } as const;
  const x402 = x402Receipt(receipt);
  const stockX402 = { ...x402, version: BigInt(x402.version), issuedAt: BigInt(x402.issuedAt) };
  const signReceiptStock = () => seller.signTypedData({ domain: receipts, types: receiptTypes, primaryType: "Receipt", message: receipt });
  const signX402Stock = () => seller.signTypedData({ domain: x402ReceiptDomain, types: x402ReceiptTypes, primaryType: "Receipt", message: stockX402 });
  const whole = async (): Promise<string> => {
    const payload = decodeSchemePayload(decodeEnvelope(header).payload);
    const id = hasher.channelId(payload.config);
    if (!(await hasher.isVoucherOf(payload.config.payerAuthorizer, id, payload.voucher.ceiling, payload.voucher.signature))) throw new Error("the voucher is good");
    await Promise.all([signer.signReceipt(receipts, receipt), signer.signX402Receipt(x402)]);
    return encodePaymentResponse(settled);
  };
  const wholeStock = async (): Promise<string> => {
    const decoded = stockDecode(header);
    channelIdOf(channels, decoded);
    if ((await recoverTypedDataAddress(stockVoucher)) !== decoded.payerAuthorizer) throw new Error("the voucher is good");
    await Promise.all([signReceiptStock(), signX402Stock()]);
    return encodePaymentResponseHeader(settled);
  };
  return [
    { name: "keccak256 of 66 bytes", batch: 500, ours: () => keccak(short), stock: () => keccak256(short, "bytes") },
    { name: "keccak256 of 576 bytes", batch: 200, ours: () => keccak(long), stock: () => keccak256(long, "bytes") },
    { name: "decode PAYMENT-SIGNATURE", batch: 50, ours: () => decodeSchemePayload(decodeEnvelope(header).payload), stock: () => stockDecode(header) },
    { name: "channel id, first time", batch: 50, ours: () => hasher.channelId(config), stock: () => channelIdOf(channels, config) },
    { name: "channel id, again", batch: 500, ours: () => hasher.channelId(frozen), stock: () => channelIdOf(channels, config) },
    { name: "voucher check", batch: 10, ours: () => hasher.isVoucherOf(config.payerAuthorizer, channelId, ceiling, signature), stock: () => recoverTypedDataAddress(stockVoucher) },
    { name: "  of it secp256k1 recovery", batch: 10, ours: () => recoverSigner(digest, signature), stock: () => recoverAddress({ hash: digest, signature }) },
    { name: "sign our receipt", batch: 10, ours: () => signer.signReceipt(receipts, receipt), stock: signReceiptStock },
    { name: "sign x402's receipt", batch: 10, ours: () => signer.signX402Receipt(x402), stock: signX402Stock },
    { name: "  of each the signature", batch: 10, ours: () => signDigest(key, digest), stock: () => sign({ hash: channelId, privateKey: KEYS.seller, to: "hex" }) },
    { name: "encode PAYMENT-RESPONSE", batch: 50, ours: () => encodePaymentResponse(settled), stock: () => encodePaymentResponseHeader(settled) },
    { name: "all of one paid call", batch: 5, ours: whole, stock: wholeStock },
  ];
}

function stockDecode(header: string): ChannelConfig {
  const { payload } = PaymentPayloadV2Schema.parse(decodePaymentSignatureHeader(header));
  const config = payload["channelConfig"] as ChannelConfig;
  const { payer, payerAuthorizer, receiver, receiverAuthorizer, token } = config;
  return { ...config, payer: getAddress(payer), payerAuthorizer: getAddress(payerAuthorizer), receiver: getAddress(receiver), receiverAuthorizer: getAddress(receiverAuthorizer), token: getAddress(token) };
}

// ------------------------------------------------------------------ measuring

const WARM_UP = 20;
const BATCHES = 200;

async function measure({ name, batch, ours, stock }: Step, batches: number): Promise<CryptoRow> {
  const times = { ours: [] as number[], stock: [] as number[] };
  for (let i = -Math.min(WARM_UP, batches); i < batches; i++) {
    const pair = { ours: await nsEach(ours, batch), stock: await nsEach(stock, Math.ceil(batch / 5)) };
    if (i < 0) continue;
    times.ours.push(pair.ours);
    times.stock.push(pair.stock);
  }
  const [own, theirs] = [timing(times.ours), timing(times.stock)];
  return { name, operations: batch * batches, ours: own, stock: theirs, ratio: Math.round((theirs.p50Ns / own.p50Ns) * 10) / 10 };
}

/** Awaits what is a promise and only that: most steps have none, and an await costs as much as the smallest of them. */
async function nsEach(act: Act, times: number): Promise<number> {
  const started = process.hrtime.bigint();
  for (let i = 0; i < times; i++) {
    const done = act();
    if (done instanceof Promise) await done;
  }
  return Number(process.hrtime.bigint() - started) / times;
}

function timing(samples: number[]): Timing {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!);
  return { p50Ns: at(0.5), p99Ns: at(0.99) };
}

export async function run(args: string[]): Promise<CryptoReport> {
  const chosen = args.indexOf("--batches");
  const batches = chosen === -1 ? BATCHES : Number(args[chosen + 1]);
  if (!Number.isInteger(batches) || batches < 1) throw new Error("--batches takes a number of at least 1");
  const rows: CryptoRow[] = [];
  for (const step of stepsOf(await paidCall())) {
    progress(`crypto: ${step.name.trim()}`);
    rows.push(await measure(step, batches));
  }
  return { bench: "crypto", machine: machine(), commit: commit(), rows };
}

export function table(report: Report): string {
  const { rows, machine, commit } = report as CryptoReport;
  const us = (ns: number) => (ns / 1000).toFixed(2);
  return [
    `The cryptography of one paid call, microseconds of one core; stock is viem and @x402/core. ${commit}; ${machine}`,
    "",
    columns([
      ["step", "ours p50", "p99", "stock p50", "p99", "times", "n"],
      ...rows.map(({ name, ours, stock, ratio, operations }) => [name, us(ours.p50Ns), us(ours.p99Ns), us(stock.p50Ns), us(stock.p99Ns), ratio.toFixed(1), operations]),
    ]),
  ].join("\n");
}
