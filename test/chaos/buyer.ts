// The hands of a buyer: signs payments of every kind, sends them to whichever server, writes down what came back.
import { encodeAbiParameters, keccak256, numberToHex, type Address, type Hex, type PrivateKeyAccount } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { setTimeout as sleep } from "node:timers/promises";
import { BASE_SEPOLIA, ERC3009_COLLECTOR, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { RECEIPT_EXTENSION } from "../../sdk/src/receipt.ts";
import { channelIdOf, receiveWithAuthorizationTypes, sessionChannelsDomain, transferWithAuthorizationTypes, voucherTypes, type ChannelConfig } from "../../sdk/src/typed-data.ts";
import type { Attempt, Books, Purchase, Settle } from "./books.ts";
import type { ActorPlan } from "./plan.ts";
import { random, type Random } from "./random.ts";
import type { World } from "./world.ts";

export const DOMAIN = sessionChannelsDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);
const USDC = BASE_SEPOLIA.usdc;

export type Stage = { world: World; books: Books; servers: string[]; /** performance.now() after which nobody starts anything. */ deadline: number; nonce: string };

export type Terms = { scheme: string; network: string; amount: string; asset: Address; payTo: Address; maxTimeoutSeconds: number; extra: Record<string, unknown> };

export type VoucherWire = { channelId: Hex; maxClaimableAmount: string; signature: Hex };

export type Session = { service: string; config: ChannelConfig; channelId: Hex; terms: Terms; price: bigint };

export type Wish = { path: string; service?: string; tag?: string; clientId?: string | undefined; stream?: Purchase["stream"] };

const ATTEMPT_TIMEOUT_MS = 6_000;
const RETRY_MS = 120;

export class Buyer {
  readonly stage: Stage;
  readonly plan: ActorPlan;
  readonly account: PrivateKeyAccount;
  readonly draw: Random;
  #tags = 0;
  #salts = 0n;
  #ids: Random;

  constructor(stage: Stage, plan: ActorPlan) {
    this.stage = stage;
    this.plan = plan;
    this.draw = random(plan.seed);
    this.#ids = random(plan.seed ^ 0x5a5a);
    // Of this attempt alone: a plan that is run again has other accounts on the same chain.
    this.account = privateKeyToAccount(keccak256(Buffer.from(`chaos ${stage.nonce} ${plan.id} ${plan.seed}`)));
  }

  get address(): Address {
    return this.account.address;
  }

  async fund(amount: bigint): Promise<void> {
    await this.stage.world.fund(this.address, amount);
    this.stage.books.funded.set(this.address, amount);
  }

  get over(): boolean {
    return performance.now() > this.stage.deadline;
  }

  tag(): string {
    return `${this.stage.nonce}-${this.plan.id}-${++this.#tags}`;
  }

  /** A payment-identifier, or none: then the voucher alone has to do. */
  clientId(): string {
    return `chaos_${Array.from({ length: 24 }, () => this.#ids.int(0, 15).toString(16)).join("")}`;
  }

  server(): string {
    return this.draw.pick(this.stage.servers);
  }

  /** The terms of a service in a scheme; asks until somebody answers. */
  async terms(service: string, scheme: string): Promise<Terms | undefined> {
    for (; !this.over; await sleep(RETRY_MS)) {
      const response = await fetch(`${this.server()}/s/${service}/ok/0/terms`, { signal: AbortSignal.timeout(3_000) }).catch(() => undefined);
      const header = response?.headers.get("payment-required");
      await response?.text().catch(() => "");
      if (header == null) continue;
      const { accepts } = JSON.parse(Buffer.from(header, "base64").toString()) as { accepts: Terms[] };
      return accepts.find((terms) => terms.scheme === scheme);
    }
    return undefined;
  }

  /** `authorizer`: whose vouchers count on it, when that is another key than its own. */
  async session(service = "shop", authorizer = this.address): Promise<Session | undefined> {
    const terms = await this.terms(service, "batch-settlement");
    if (terms === undefined) return undefined;
    const config: ChannelConfig = {
      payer: this.address, payerAuthorizer: authorizer, receiver: terms.payTo, receiverAuthorizer: terms.extra["receiverAuthorizer"] as Address,
      token: terms.asset, withdrawDelay: terms.extra["withdrawDelay"] as number, salt: numberToHex(++this.#salts, { size: 32 }),
    };
    const channelId = channelIdOf(DOMAIN, config);
    this.stage.books.channels.set(channelId, { actor: this.plan.id, kind: this.plan.kind, payer: this.address });
    return { service, config, channelId, terms, price: BigInt(terms.amount) };
  }

  // ---------------------------------------------------------------- signing

  async voucher(channelId: Hex, ceiling: bigint): Promise<VoucherWire> {
    this.stage.books.sign(channelId, ceiling);
    const signature = await this.account.signTypedData({ domain: DOMAIN, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount: ceiling } });
    return { channelId, maxClaimableAmount: String(ceiling), signature };
  }

  async deposit(channelId: Hex, amount: bigint) {
    const salt = keccak256(Buffer.from(this.tag()));
    const nonce = keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "bytes32" }], [channelId, salt]));
    const validBefore = BigInt(Math.floor(Date.now() / 1000) + 600);
    const signature = await this.account.signTypedData({
      domain: { name: USDC.name, version: USDC.version, chainId: BASE_SEPOLIA.chainId, verifyingContract: USDC.address },
      types: receiveWithAuthorizationTypes, primaryType: "ReceiveWithAuthorization",
      message: { from: this.address, to: ERC3009_COLLECTOR, value: amount, validAfter: 0n, validBefore, nonce },
    });
    return { amount: String(amount), authorization: { erc3009Authorization: { validAfter: "0", validBefore: String(validBefore), salt, signature } } };
  }

  /** A purchase by voucher, its own or one that a guard signed; with a deposit when `deposit` says how much. */
  async byVoucher(session: Session, wish: Wish, ceiling: bigint, deposit?: bigint, signed?: VoucherWire): Promise<Purchase> {
    const { channelId, config } = session;
    const voucher = signed ?? (await this.voucher(channelId, ceiling));
    const payload = deposit === undefined
      ? { type: "voucher", channelConfig: config, voucher }
      : { type: "deposit", channelConfig: config, voucher, deposit: await this.deposit(channelId, deposit) };
    return this.#note(session.terms, session.service, wish, payload, { scheme: "session", channelId, ceiling, nonce: undefined });
  }

  async byTransfer(terms: Terms, service: string, wish: Wish, change: { nonce?: Hex; validForS?: number } = {}): Promise<Purchase> {
    const nonce = change.nonce ?? keccak256(Buffer.from(`${this.tag()} nonce`));
    const message = { from: this.address, to: terms.payTo, value: BigInt(terms.amount), validAfter: 0n, validBefore: BigInt(Math.floor(Date.now() / 1000) + (change.validForS ?? 60)), nonce };
    const signature = await this.account.signTypedData({
      domain: { name: USDC.name, version: USDC.version, chainId: BASE_SEPOLIA.chainId, verifyingContract: USDC.address },
      types: transferWithAuthorizationTypes, primaryType: "TransferWithAuthorization", message,
    });
    const authorization = { ...message, value: String(message.value), validAfter: "0", validBefore: String(message.validBefore) };
    return this.#note(terms, service, wish, { signature, authorization }, { scheme: "exact", channelId: undefined, ceiling: undefined, nonce });
  }

  #note(terms: Terms, service: string, wish: Wish, payload: unknown, keys: Pick<Purchase, "scheme" | "channelId" | "ceiling" | "nonce">): Purchase {
    const tag = wish.tag ?? this.tag();
    const paymentId = `pay_${Date.now().toString(16).padStart(12, "0")}${Array.from({ length: 20 }, () => this.#ids.int(0, 15).toString(16)).join("")}`;
    const accepted = { ...terms, extra: { ...terms.extra, paymentId } };
    const extensions = wish.clientId === undefined ? { [RECEIPT_EXTENSION]: {} } : { [RECEIPT_EXTENSION]: {}, "payment-identifier": { info: { required: false, id: wish.clientId } } };
    const header = Buffer.from(JSON.stringify({ x402Version: 2, accepted, payload, resource: { url: "http://chaos.test" }, extensions })).toString("base64");
    return this.stage.books.add({
      tag, actor: this.plan.id, kind: this.plan.kind, stream: wish.stream, path: `/s/${service}/${wish.path}/${tag}`, service, header, payer: this.address,
      price: BigInt(terms.amount), clientId: wish.clientId, attempts: [], ...keys,
    });
  }

  // ---------------------------------------------------------------- sending

  /** Sends the payment once. `abortAfterMs`: the buyer hangs up then. */
  attempt(purchase: Purchase, options: { server?: string; abortAfterMs?: number } = {}): Promise<Attempt> {
    return attempt(purchase, options.server ?? this.server(), options.abortAfterMs);
  }

  /** Sends it until it is known what became of it, or the round is over. */
  async pursue(purchase: Purchase): Promise<Attempt> {
    for (;;) {
      const last = await this.attempt(purchase);
      if (isFinal(last) || this.over) return last;
      await sleep(RETRY_MS);
    }
  }
}

/** Nothing will come of sending it once more; a 503 or a lost connection says that it should be sent again. */
export const isFinal = (attempt: Attempt): boolean => attempt.kind === "answer" && attempt.status !== 503 && attempt.status !== 500 && attempt.status !== 499;

export async function attempt(purchase: Purchase, server: string, abortAfterMs?: number): Promise<Attempt> {
  const result = await fetchOnce(purchase, server, abortAfterMs).catch((error: unknown): Attempt => ({ kind: "lost", why: error instanceof Error ? `${error.message} ${String(error.cause ?? "")}` : String(error), atMs: Date.now() }));
  purchase.attempts.push(result);
  return result;
}

async function fetchOnce(purchase: Purchase, server: string, abortAfterMs: number | undefined): Promise<Attempt> {
  const headers = { "payment-signature": purchase.header, ...(purchase.stream === "metered" ? { "tallystick-stream": "metered" } : {}) };
  const response = await fetch(server + purchase.path, { headers, signal: AbortSignal.timeout(abortAfterMs ?? ATTEMPT_TIMEOUT_MS) });
  const body = await response.text();
  const contentType = response.headers.get("content-type") ?? "";
  const header = response.headers.get("payment-response");
  const settle = header === null ? undefined : (JSON.parse(Buffer.from(header, "base64").toString()) as Settle);
  const problem = contentType.startsWith("application/problem+json") ? (JSON.parse(body) as { code?: string }) : undefined;
  const paid = response.status < 400 && problem === undefined;
  return { kind: "answer", status: response.status, contentType, body, paymentId: response.headers.get("tallystick-payment-id") ?? undefined, settle, code: problem?.code, paid, refetch: false };
}
