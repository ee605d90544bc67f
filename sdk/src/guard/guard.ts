// The guard: holds the voucher keys, and signs when mandate and firewall allow it. It trusts neither agent nor seller. What it decided is
// durable before the signature leaves, so a crash at any point costs at most a voucher that nobody has.
import { hashTypedData, isAddressEqual, type Address, type Hex } from "viem";
import type { PrivateKeyAccount } from "viem/accounts";
import { TallystickError } from "../errors.ts";
import type { CompiledPolicy } from "../firewall/evaluate.ts";
import { guardBindingTypes } from "../guard-binding.ts";
import { checkLineage, checkSignatures, idsOf, type Lineage, type WalletCheck } from "../lineage.ts";
import { mandateRegistryDomain } from "../mandate.ts";
import { channelIdOf, sessionChannelsDomain, voucherTypes, type ChannelConfig } from "../typed-data.ts";
import { voucherAccount } from "./keys.ts";
import { chargeBatch, refusalOfCapability, refusalOfChannel, refusalOfPolicy, refusalOfPrice, refusalOfTerms, refusalOfTime, roomOf, type MandateAccount, type Refusal, type ServiceFacts, type Situation } from "./logic.ts";
import { guardDomain, guardRequestTypes, requestSigner, type Order, type SignedBinding } from "./request.ts";
import type { ChannelRecord, GuardStore } from "./store.ts";

/** What the guard asks the chain; refuses when it cannot be asked within its bound. */
export type GuardChain = {
  /** Revoked, of an older epoch, or not to be known now. `nowS` is the chain's clock. */
  look(lineage: Lineage, ids: readonly Hex[]): Promise<{ refusal: Refusal | undefined; nowS: number }>;
  wallet?: WalletCheck;
};

export type GuardParts = {
  store: GuardStore;
  /** 32 bytes, secret: every voucher key comes from it. */
  master: Hex;
  chainId: number;
  registry: Address;
  /** SessionChannels whose vouchers it signs. */
  channels: Address;
  chain?: GuardChain;
  /** Those of the principals, signatures checked. */
  policies?: (principal: Address, serviceOwner: Address | undefined) => readonly CompiledPolicy[] | Promise<readonly CompiledPolicy[]>;
  /** What somebody other than the agent says of the service behind a URL. */
  service?: (url: string, payTo: Address) => Promise<ServiceFacts | undefined>;
  /** May this mandate be guarded here? Everybody's when left out. */
  accepts?: (lineage: Lineage) => boolean;
  now?: () => Date;
  /** Named points, for tests that end the process there. */
  reached?: (name: GuardPoint) => void;
  onDecision?: (decision: GuardDecision) => void;
};

export type GuardPoint = "guard.checked" | "guard.durable" | "guard.signed";

export type GuardDecision = { order: Order; principal: Address; refusal: Refusal | undefined; added: bigint };

export type SignedVoucher = { channelId: Hex; maxClaimableAmount: string; signature: Hex };
export type Answer = { voucher: SignedVoucher; approved: bigint } | { error: TallystickError };

export type MandateStatus = {
  lineage: Lineage;
  ids: readonly Hex[];
  authorizer: Address;
  /** In the order of the lineage. */
  accounts: readonly MandateAccount[];
  channels: readonly ChannelRecord[];
  /** Least over the lineage, atomic units. */
  room: bigint;
};

export type Guard = {
  instance: Hex;
  chainId: number;
  registry: Address;
  channels: Address;
  /** Takes a mandate under its care. @throws TallystickError `mandate_*`. */
  register(lineage: Lineage): Promise<{ mandateId: Hex; authorizer: Address }>;
  status(mandateId: Hex): Promise<MandateStatus>;
  /** May there be such a channel under the mandate? @returns its id, and the proof that its voucher key is this mandate's. @throws as `sign`. */
  open(mandateId: Hex, config: ChannelConfig): Promise<{ channelId: Hex; binding: SignedBinding }>;
  /** The voucher key's own word that its channels are paid under this mandate. */
  binding(mandateId: Hex): Promise<SignedBinding>;
  mandateIds(): Promise<Hex[]>;
  /** Requests that came together, answered one by one. */
  sign(orders: readonly Order[]): Promise<Answer[]>;
};

export function createGuard(parts: GuardParts): Guard {
  return new TheGuard(parts);
}

type Checked = { order: Order; digest: Hex; refusal: Refusal | undefined; added?: bigint; approved?: bigint };

class TheGuard implements Guard {
  readonly #parts: GuardParts;
  readonly #keys = new Map<Hex, PrivateKeyAccount>();
  readonly #ids = new WeakMap<Lineage, Hex[]>();

  constructor(parts: GuardParts) {
    this.#parts = parts;
  }

  get instance(): Hex {
    return this.#parts.store.instance;
  }

  get chainId(): number {
    return this.#parts.chainId;
  }

  get registry(): Address {
    return this.#parts.registry;
  }

  get channels(): Address {
    return this.#parts.channels;
  }

  async register(lineage: Lineage): Promise<{ mandateId: Hex; authorizer: Address }> {
    const { store, chainId, registry, chain, accepts } = this.#parts;
    const domain = mandateRegistryDomain(chainId, registry);
    checkLineage(domain, lineage);
    await checkSignatures(domain, lineage, chain?.wallet);
    if (accepts?.(lineage) === false) throw new TallystickError({ code: "mandate_not_guarded", status: 403, retry: "never", field: "lineage", detail: "This guard looks after other mandates." });
    const [mandateId] = idsOf(domain, lineage);
    await store.addLineage(mandateId!, lineage);
    return { mandateId: mandateId!, authorizer: this.#key(mandateId!).address };
  }

  async status(mandateId: Hex): Promise<MandateStatus> {
    const { store } = this.#parts;
    const lineage = await this.#lineage(mandateId);
    const ids = this.#idsOf(lineage);
    const [accounts, channels] = await Promise.all([store.accounts(ids), store.channels(mandateId)]);
    const room = lineage.map(({ mandate }, level) => roomOf(mandate, accounts[level]!, this.#nowS())).reduce((a, b) => (a < b ? a : b));
    return { lineage, ids, authorizer: this.#key(mandateId).address, accounts, channels, room };
  }

  async open(mandateId: Hex, config: ChannelConfig): Promise<{ channelId: Hex; binding: SignedBinding }> {
    const lineage = await this.#lineage(mandateId);
    const ids = this.#idsOf(lineage);
    const refusal = refusalOfChannel({ lineage, ids, authorizer: this.#key(mandateId).address }, config);
    if (refusal !== undefined) throw refusalError(refusal);
    return { channelId: channelIdOf(sessionChannelsDomain(this.chainId, this.channels), config), binding: await this.binding(mandateId) };
  }

  async binding(mandateId: Hex): Promise<SignedBinding> {
    await this.#lineage(mandateId);
    const account = this.#key(mandateId);
    const message = { mandateId, authorizer: account.address };
    const signature = await account.signTypedData({ domain: mandateRegistryDomain(this.chainId, this.registry), types: guardBindingTypes, primaryType: "GuardBinding", message });
    return { ...message, signature };
  }

  mandateIds(): Promise<Hex[]> {
    return this.#parts.store.mandateIds();
  }

  async sign(orders: readonly Order[]): Promise<Answer[]> {
    const answers = new Map<Order, Answer>();
    const groups = new Map<string, Order[]>();
    for (const order of orders) {
      // With its terms: a group has one config, so what is checked of the first holds for each.
      const key = `${order.request.mandateId} ${order.request.channelId} ${JSON.stringify(order.config)}`;
      groups.set(key, [...(groups.get(key) ?? []), order]);
    }
    for (const group of groups.values()) {
      const answered = await this.#signGroup(group).catch((error: unknown) => group.map(() => ({ error: asError(error) })));
      group.forEach((order, index) => answers.set(order, answered[index]!));
    }
    return orders.map((order) => answers.get(order)!);
  }

  async #signGroup(orders: readonly Order[]): Promise<Answer[]> {
    const { mandateId, channelId } = orders[0]!.request;
    const lineage = await this.#lineage(mandateId);
    const ids = this.#idsOf(lineage);
    const { config } = orders[0]!;
    if (channelIdOf(sessionChannelsDomain(this.chainId, this.channels), config) !== channelId) {
      throw new TallystickError({ code: "guard_terms_mismatch", status: 403, retry: "never", field: "request.channelId", detail: `The channel id ${channelId} is not the hash of the config.` });
    }
    const authentic = await this.#authentic(lineage, orders);
    const looked = await this.#parts.chain?.look(lineage, ids);
    // The later of two clocks: one that is put back brings no mandate to life.
    const nowS = Math.max(this.#nowS(), looked?.nowS ?? 0);
    const situation: Situation = { lineage, ids, authorizer: this.#key(mandateId).address, chainId: this.chainId, nowS, blocked: looked?.refusal };
    const checked: Checked[] = [];
    for (const order of orders) checked.push(await this.#check(situation, order, authentic.get(order)!));
    this.#parts.reached?.("guard.checked");
    const verdicts = await this.#charge(situation, channelId, checked);
    this.#parts.reached?.("guard.durable");
    const answers: Answer[] = [];
    for (const verdict of verdicts) answers.push(await this.#answer(situation, verdict));
    this.#parts.reached?.("guard.signed");
    return answers;
  }

  /** Only the delegate asks. Without its signature nothing is looked at and nothing is written down. */
  async #authentic(lineage: Lineage, orders: readonly Order[]): Promise<Map<Order, Hex>> {
    const domain = guardDomain(this.chainId, this.registry);
    const { delegate } = lineage[0].mandate;
    const signers = await Promise.all(orders.map((order) => requestSigner(domain, order)));
    orders.forEach(({ request }, index) => {
      if (signers[index] !== undefined && isAddressEqual(signers[index], delegate)) return;
      throw new TallystickError({ code: "guard_signature_invalid", status: 403, retry: "never", field: "signature", detail: `The request for ${request.url} is not signed by the mandate's delegate ${delegate}.` });
    });
    return new Map(orders.map((order) => [order, hashTypedData({ domain, types: guardRequestTypes, primaryType: "GuardRequest", message: order.request })]));
  }

  async #check(situation: Situation, order: Order, digest: Hex): Promise<Checked> {
    const { request } = order;
    const terms = refusalOfTerms(situation, order);
    // Nothing new is bought: it goes by what was approved and signed before.
    if (terms !== undefined || request.price === 0n) return { order, digest, refusal: terms };
    const early = situation.blocked ?? refusalOfTime(situation) ?? refusalOfPrice(situation, request);
    if (early !== undefined) return { order, digest, refusal: early };
    const known = await this.#parts.service?.(request.url, request.payTo);
    const policies = (await this.#parts.policies?.(situation.lineage[0].mandate.principal, known?.serviceOwner)) ?? [];
    return { order, digest, refusal: refusalOfCapability(situation, known) ?? refusalOfPolicy(policies, situation, request, known) };
  }

  async #charge(situation: Situation, channelId: Hex, checked: readonly Checked[]): Promise<Checked[]> {
    const passed = checked.filter(({ refusal }) => refusal === undefined);
    if (passed.length === 0) return [...checked];
    const scope = { ids: situation.ids, channelId, config: passed[0]!.order.config, digests: passed.map(({ digest }) => digest), nowS: situation.nowS };
    const verdicts = await this.#parts.store.transact(scope, (accounts, answered) => {
      const { verdicts, channel, mandates } = chargeBatch(situation, accounts, passed, answered);
      const fresh = verdicts.filter(({ refusal, digest }) => refusal === undefined && !answered.has(digest));
      const record = fresh.map(({ digest, order: { request } }) => ({ digest, expiresAt: request.expiresAt, ceiling: request.ceiling, price: request.price, url: request.url }));
      const outcome = verdicts.map((verdict) => ({ ...verdict, approved: channel.approved }));
      return { outcome, change: fresh.length === 0 ? undefined : { channel, mandates, answered: record } };
    });
    const byOrder = new Map(verdicts.map((verdict) => [verdict.order, verdict]));
    return checked.map((entry) => byOrder.get(entry.order) ?? entry);
  }

  async #answer({ lineage, ids, nowS }: Situation, { order, refusal, added = 0n, approved = 0n }: Checked): Promise<Answer> {
    const { request } = order;
    this.#parts.onDecision?.({ order, principal: lineage[0].mandate.principal, refusal, added });
    if (refusal !== undefined) {
      const { code, rule, reason } = refusal;
      const row = await this.#parts.store.recordRefusal(
        { mandateId: ids[0]!, principal: lineage[0].mandate.principal, channelId: request.channelId, url: request.url, method: request.method, payTo: request.payTo, priceAtomic: String(request.price), ceilingAtomic: String(request.ceiling), code, rule, reason }, nowS,
      );
      return { error: refusalError(refusal, row) };
    }
    const message = { channelId: request.channelId, maxClaimableAmount: request.ceiling };
    const domain = sessionChannelsDomain(this.chainId, this.channels);
    const signature = await this.#key(request.mandateId).signTypedData({ domain, types: voucherTypes, primaryType: "Voucher", message });
    return { voucher: { channelId: request.channelId, maxClaimableAmount: String(request.ceiling), signature }, approved };
  }

  async #lineage(mandateId: Hex): Promise<Lineage> {
    const lineage = await this.#parts.store.lineageOf(mandateId);
    if (lineage !== undefined) return lineage;
    throw new TallystickError({ code: "mandate_unknown", status: 404, retry: "never", field: "request.mandateId", detail: `This guard does not know the mandate ${mandateId}.` });
  }

  #idsOf(lineage: Lineage): Hex[] {
    const known = this.#ids.get(lineage) ?? idsOf(mandateRegistryDomain(this.chainId, this.registry), lineage);
    this.#ids.set(lineage, known);
    return known;
  }

  #key(mandateId: Hex): PrivateKeyAccount {
    const known = this.#keys.get(mandateId);
    if (known !== undefined) return known;
    const made = voucherAccount(this.#parts.master, this.#parts.store.instance, mandateId);
    this.#keys.set(mandateId, made);
    return made;
  }

  #nowS(): number {
    return Math.floor((this.#parts.now?.() ?? new Date()).getTime() / 1_000);
  }
}

/** A refusal as everybody sees it: what was decided, by which rule, why, and that nothing moved. */
export function refusalError({ code, rule, reason, retry, field, extra }: Refusal, audit?: { seq: number; hash: Hex }): TallystickError {
  const proof = { money_never_moved: true, amountAtomic: "0", ...(audit === undefined ? {} : { audit }) };
  return new TallystickError({
    code, status: code === "mandate_unverifiable" ? 503 : 403, retry: retry ?? "never", detail: reason, ...(field === undefined ? {} : { field }),
    extra: { decision: code === "approval_pending" ? "PENDING" : "REJECTED", rule, reason, proof, ...extra },
  });
}

function asError(error: unknown): TallystickError {
  if (error instanceof TallystickError) return error;
  return new TallystickError({ code: "guard_failed", status: 503, retry: "safe", detail: "The guard could not decide; nothing was signed.", cause: error });
}
