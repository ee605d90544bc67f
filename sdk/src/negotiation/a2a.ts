// One agent calls another's API by what it can do: intent, offers, one counter-offer, session, payment, and every receipt held against what
// was agreed. Sessions are kept, so that the next call of the same kind goes straight to paying. Browser-safe.
import { bytesToHex, isAddressEqual, zeroHash, type Address, type Hex, type LocalAccount } from "viem";
import { createAgent, type Agent, type AgentOptions } from "../agent/agent.ts";
import { openReader } from "../agent/chain.ts";
import { receiptIn } from "../agent/receipts.ts";
import { decodeHeader, readPaymentRequired, readSettlement } from "../agent/wire.ts";
import { BASE_SEPOLIA, chainById, SESSION_CHANNELS } from "../constants.ts";
import { TallystickError } from "../errors.ts";
import { GuardClient } from "../guard/client.ts";
import { registerWithRelayer } from "../mandate-register.ts";
import type { SignedReceipt } from "../receipt.ts";
import type { ChannelConfig } from "../typed-data.ts";
import { sessionFaults, totalFaults, type Agreement } from "./check.ts";
import { outputOf, type HandedSession } from "./by-token.ts";
import { fault, NegotiationClient, type Declined, type ProvenOffer } from "./client.ts";
import { formatAmount, parseAmount } from "./decimal.ts";
import type { Sla } from "./fields.ts";
import { negotiationDomain, type Intent, type MessageSigner, type Offer } from "./messages.ts";
import { BEST_FEW, candidates, createListings, firstPrice, noOffer, type SeenListing } from "./choose.ts";
import { listingFaultOnChain, type ListingCheck } from "./listing-check.ts";
import { sessionFileOf, type SessionFile, type SignedVoucher } from "./session-file.ts";
import { keepsSla } from "./terms.ts";

/** Under a mandate `account` is its delegate: it negotiates and signs what is agreed, and the guard signs what is paid. */
export type A2AOptions = Omit<AgentOptions, "fetch" | "onPayment"> & {
  relayerUrl: string;
  fetch?: typeof fetch;
  /** BazaarRegistry that listings are held against; the published one of the chain, or that of the local world, when left out. */
  bazaarRegistry?: Address;
  /** Calls that a session is opened for (100). */
  calls?: number;
};

export type A2ACall = {
  /**
   * One service, by its id in the registry or its name at the relayer; left out: whoever has the capability, listed services first. What is
   * listed is held against the chain. That a name is not listed is the relayer's word: an id is not.
   */
  agentId?: string;
  capability?: string;
  /** JSON that is posted; or the request itself. */
  input?: unknown;
  path?: string;
  method?: string;
  /** Most that one call may cost, token units: "0.008". */
  maxCost: string;
  sla?: Sla;
};

export type A2AResult = {
  status: number;
  output: unknown;
  /** Token units. */
  cost: string;
  service: string;
  sessionId: Hex;
  offer: Offer;
  receipt: SignedReceipt;
  /** What the first offer asked, token units: what negotiating saved is the difference. */
  firstOffered: string;
};

type Session = { sessionId: Hex; /** Where its calls go: the gateway, or the provider's own server. */ url: string; token: string | undefined; offer: Offer; agreement: Agreement; calls: number; budget: bigint; /** Under way or paid for. */ taken: number; receipts: SignedReceipt[]; firstOffered: bigint; expiresAt: number; /** The last voucher signed. */ paid?: { channelConfig: ChannelConfig; voucher: SignedVoucher } };

const SESSION_HEADER = "X-402-Session-Id";
const isServiceId = (agentId: string): boolean => /^0x[0-9a-fA-F]{64}$/.test(agentId);
const INTENT_S = 300;
const COUNTER_S = 60;
const DEFAULT_CALLS = 100;
const nowS = (): number => Math.floor(Date.now() / 1000);
const NO_SLA: Sla = { maxLatencyMs: 0, minUptimePercent: 0 };

export type A2A = {
  call(request: A2ACall): Promise<A2AResult>;
  /**
   * Negotiates a session and hands it out: whoever has the result calls by its token (`callByToken`), without a key, until its calls or its
   * time are over. The session's whole budget is put into a channel of its own and counts as spent.
   * @throws TallystickError as call; `limit_exceeded`, `fund_refused`.
   */
  handOut(request: Pick<A2ACall, "agentId" | "capability" | "maxCost" | "sla"> & { /** Calls that it is for. */ calls?: number }): Promise<HandedSession>;
  /** All that was signed for a session, for whoever wants to check it; undefined before its first paid call. */
  evidence(sessionId: Hex): Promise<SessionFile | undefined>;
  close(): Promise<void>;
};

export function createA2A(options: A2AOptions): A2A {
  const chainId = options.chainId ?? BASE_SEPOLIA.chainId;
  const domain = negotiationDomain(chainId, options.sessionChannels ?? SESSION_CHANNELS);
  const client = new NegotiationClient({ relayerUrl: options.relayerUrl, account: options.account as unknown as MessageSigner, domain, ...(options.fetch === undefined ? {} : { fetch: options.fetch }) });
  const listings = createListings({ relayerUrl: options.relayerUrl, ...(options.fetch === undefined ? {} : { fetch: options.fetch }) });
  const reader = options.reader ?? (options.rpcUrl === undefined ? undefined : openReader(options.rpcUrl));
  if (reader === undefined) throw new TypeError("createA2A needs rpcUrl or reader");
  const onChain: ListingCheck = { reader, chainId, registry: options.bazaarRegistry };
  const sessions = new Map<string, Promise<Session>>();
  const opened = new Map<Hex, Session>();
  const apart: Agent[] = [];
  // One for all sessions: those of one service share a channel, and limits hold for all of them together.
  const agent = createAgent({ ...options, reader, chainId, schemes: ["batch-settlement"], fetch: watched });

  let telling: Promise<void> | undefined;

  /** A session is the agent's, its channels the principal's: the relayer has to know the mandate that makes one of both. */
  function tellMandate(): Promise<void> {
    const { mandate, account } = options;
    if (mandate === undefined) return Promise.resolve();
    const signsIn = account as Partial<Pick<LocalAccount, "signMessage">>;
    if (signsIn.signMessage === undefined) throw new TypeError("a2a under a mandate needs an account that signs messages: it signs in to the relayer");
    const { lineage, guard: url, registry } = mandate;
    const asking = options.fetch === undefined ? {} : { fetch: options.fetch };
    const guard = new GuardClient({ url, account, mandate: lineage, chainId, registry, ...asking });
    telling ??= guard.binding().then((binding) => registerWithRelayer({ relayerUrl: options.relayerUrl, account: account as LocalAccount, lineage, bindings: [binding], ...asking }));
    telling.catch(() => (telling = undefined));
    return telling;
  }

  async function agree({ agentId = "", capability = "", maxCost, sla = NO_SLA }: A2ACall, calls = options.calls ?? DEFAULT_CALLS): Promise<Session> {
    const maxPricePerRequest = parseAmount(maxCost, "maxCost");
    const now = nowS();
    await tellMandate();
    const seen = agentId === "" ? await listings.withCapability(capability) : await ofOne(agentId);
    if (isServiceId(agentId) && seen[0] === undefined) throw noOffer(maxPricePerRequest, [{ service: agentId, reason: "it is not listed at this relayer" }]);
    const service = agentId === "" ? "" : (seen[0]?.service ?? agentId);
    const intent: Intent = { intentId: random(), agent: options.account.address, service, capability, maxPricePerRequest, token: tokenOf(chainId), sla, expiresAt: now + INTENT_S };
    const { offers, declined } = await client.publishIntent(intent);
    const asked = isServiceId(agentId) ? offers.filter(({ offer }) => offer.message.serviceId === agentId.toLowerCase()) : offers;
    const { first, chosen } = await best(intent, await candidatesOf(intent, asked, seen, declined));
    const { message: offer } = chosen.offer;
    const budget = offer.pricePerRequest * BigInt(Math.min(calls, offer.maxCalls));
    const { session, acceptance } = await client.accept(offer, { offerHash: chosen.offerHash, agent: intent.agent, budget, sessionExpiresAt: now + offer.sessionTtlS });
    const made: Session = {
      sessionId: session.sessionId, url: `${options.relayerUrl}/s/${offer.service}`, token: session.sessionToken, offer, agreement: { offer: chosen.offer, policy: chosen.policy, acceptance }, calls: session.calls, budget, taken: 0, receipts: [],
      firstOffered: first.offer.message.pricePerRequest, expiresAt: acceptance.message.sessionExpiresAt,
    };
    opened.set(made.sessionId, made);
    return made;
  }

  async function ofOne(agentId: string): Promise<SeenListing[]> {
    const listing = await listings.find(agentId);
    if (listing === undefined) return [];
    if (isServiceId(agentId) && listing.serviceId.toLowerCase() !== agentId.toLowerCase()) throw fault("listing_mismatch", `The relayer was asked for ${agentId} and told of ${listing.serviceId}; nothing was signed.`);
    return [listing];
  }

  /** Offers of listed services first; where discovery had none of them, what the relayer says of each is asked. */
  async function candidatesOf({ maxPricePerRequest: most, sla, capability }: Intent, offers: readonly ProvenOffer[], seen: readonly SeenListing[], declined: readonly Declined[]): Promise<ProvenOffer[]> {
    const known = new Set(seen.map(({ serviceId }) => serviceId));
    const unseen = new Set(offers.map(({ offer }) => offer.message.serviceId).filter((id) => id !== zeroHash && !known.has(id)));
    const looked = await Promise.all([...unseen].map((id) => listings.find(id)));
    const found = candidates(offers, [...seen, ...looked.filter((listing) => listing !== undefined)], { most, sla, nowS: nowS() });
    const held: ProvenOffer[] = [];
    const refused = [...declined, ...found.refused];
    for (const proven of found.offers) {
      if (held.length === BEST_FEW) break;
      const reason = await whyNotOnChain(proven, capability);
      if (reason === undefined) held.push(proven);
      else refused.push({ service: proven.offer.message.service, reason });
    }
    if (held.length > 0) return held;
    throw noOffer(most, refused);
  }

  /** What the chain has against an offer of a listed service. */
  async function whyNotOnChain({ offer: { message } }: ProvenOffer, capability: string): Promise<string | undefined> {
    if (message.serviceId === zeroHash) return undefined;
    const told = await listings.find(message.serviceId);
    return told?.agent === undefined ? "its listing is not known" : listingFaultOnChain(onChain, told.agent, { ...message, capability });
  }

  /** Bargains with the best few, and takes what is cheapest then. */
  async function best(intent: Intent, offers: readonly ProvenOffer[]): Promise<{ first: ProvenOffer; chosen: ProvenOffer }> {
    const bargained = await Promise.all(offers.slice(0, BEST_FEW).map(async (first) => ({ first, chosen: await bargain(intent, first) })));
    return bargained.reduce((least, other) => (firstPrice(other.chosen) < firstPrice(least.chosen) ? other : least));
  }

  /** One counter-offer; where the provider has to come by for it, the first offer is taken. */
  async function bargain(intent: Intent, first: ProvenOffer): Promise<ProvenOffer> {
    const asked = (first.offer.message.pricePerRequest * 3n) / 4n;
    if (asked === 0n) return first;
    const answer = await client.counter(intent, { offerHash: first.offerHash, agent: intent.agent, pricePerRequest: asked, expiresAt: Math.floor(Date.now() / 1000) + COUNTER_S }).catch((error: unknown) => {
      if (error instanceof TallystickError && error.status === 409) return undefined; // it does not bargain any more
      throw error;
    });
    return answer !== undefined && isCheaper(answer, first) ? answer : first;
  }

  /** The same service's, for less, and nothing else changed that it was chosen for. */
  const isCheaper = ({ offer: { message: answer } }: ProvenOffer, { offer: { message: first } }: ProvenOffer): boolean =>
    answer.pricePerRequest < first.pricePerRequest && answer.serviceId === first.serviceId && answer.service === first.service && isAddressEqual(answer.payTo, first.payTo) && isAddressEqual(answer.provider, first.provider) && keepsSla(answer.sla, first.sla);

  /** Keeps what was signed for each session, and sees to it that nothing is signed for others than its offer pays. */
  async function watched(...[input, init]: Parameters<typeof fetch>): Promise<Response> {
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
    const session = opened.get((headers.get(SESSION_HEADER) ?? "0x") as Hex);
    if (session !== undefined) remember(session, headers.get("payment-signature"));
    const response = await (options.fetch ?? globalThis.fetch)(input, init);
    if (session !== undefined) checkPayee(session.offer, response);
    return response;
  }

  /** Whoever serves the call: nothing is signed for anybody but whom the offer pays. */
  function checkPayee({ payTo, token }: Offer, { status, headers }: Response): void {
    if (status !== 402 || headers.get("payment-required") === null) return;
    const other = readPaymentRequired(headers).accepts.find((terms) => terms.payTo.toLowerCase() !== payTo.toLowerCase() || terms.asset.toLowerCase() !== token.toLowerCase());
    if (other !== undefined) throw fault("agreement_broken", `The call is to be paid to ${other.payTo} in ${other.asset}; the offer says ${payTo} in ${token}.`);
  }

  /** The voucher with the highest ceiling covers what all before it paid for. */
  function remember(session: Session, header: string | null): void {
    if (header === null) return;
    const { payload } = decodeHeader("PAYMENT-SIGNATURE", header) as { payload: { channelConfig: ChannelConfig; voucher: SignedVoucher } };
    if (BigInt(payload.voucher.maxClaimableAmount) >= BigInt(session.paid?.voucher.maxClaimableAmount ?? 0)) session.paid = { channelConfig: payload.channelConfig, voucher: payload.voucher };
  }

  async function evidence(sessionId: Hex): Promise<SessionFile | undefined> {
    const session = opened.get(sessionId);
    if (session?.paid === undefined) return undefined;
    const { agreement, receipts, paid: { channelConfig, voucher } } = session;
    return sessionFileOf(chainId, options.sessionChannels ?? SESSION_CHANNELS, agreement, { channelConfig, vouchers: [voucher], receipts });
  }

  /** The session gets a channel of its own: whoever holds its token spends that and no more. */
  async function handOut({ calls, ...wanted }: Parameters<A2A["handOut"]>[0]): Promise<HandedSession> {
    const session = await agree(wanted, calls);
    const { sessionId, token, budget, offer, expiresAt, url } = session;
    if (token === undefined) throw fault("session_token", "The relayer gave no token for the session.");
    const named: typeof fetch = (input, init) => {
      const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
      headers.set(SESSION_HEADER, sessionId);
      return watched(input, { ...init, headers });
    };
    const limits = { ...options.limits, perCall: offer.pricePerRequest };
    const own = createAgent({ ...options, reader: reader!, chainId, limits, deposit: { calls: session.calls, max: budget, ...options.deposit }, schemes: ["batch-settlement"], fetch: named, channelName: sessionId });
    apart.push(own);
    await own.wallet.fund(budget, { url: `${url}/` });
    session.paid = await own.wallet.voucher(budget, { url: `${url}/` });
    await client.leaveVoucher(sessionId, token, session.paid);
    return { url, sessionId, token, calls: session.calls, pricePerRequest: formatAmount(offer.pricePerRequest), expiresAt, chainId, contract: options.sessionChannels ?? SESSION_CHANNELS, channel: session.paid.channelConfig };
  }

  /** A session with a call left, which is taken. Calls that come together wait for one another here, so that they open one session and no more. */
  function sessionOf(request: A2ACall): Promise<Session> {
    const key = JSON.stringify([request.agentId, request.capability, request.maxCost, request.sla]);
    const before = sessions.get(key);
    const next = (async () => {
      const known = await before?.catch(() => undefined);
      const session = known !== undefined && known.expiresAt > nowS() + 5 && known.taken < known.calls ? known : await agree(request);
      session.taken += 1;
      return session;
    })();
    sessions.set(key, next);
    next.catch(() => sessions.get(key) === next && sessions.delete(key));
    return next;
  }

  async function call(request: A2ACall): Promise<A2AResult> {
    const session = await sessionOf(request);
    try {
      return await callIn(session, request);
    } catch (error) {
      session.taken -= 1; // what it did take, the relayer says
      throw error;
    }
  }

  /** Pays within the session only: one deposit for all its calls, and never above the agreed price. */
  async function callIn(session: Session, { input, path = "/", method = input === undefined ? "GET" : "POST" }: A2ACall): Promise<A2AResult> {
    const { sessionId, offer, calls, budget } = session;
    const within = { most: offer.pricePerRequest, deposit: { calls, max: budget, ...options.deposit } };
    const init = { method, headers: { [SESSION_HEADER]: sessionId, ...(input === undefined ? {} : { "content-type": "application/json" }) }, ...(input === undefined ? {} : { body: JSON.stringify(input) }) };
    let response = await agent.fetchWithin(within, `${session.url}${path}`, init);
    const elsewhere = await selfHosted(response);
    if (elsewhere !== undefined && elsewhere !== session.url) {
      session.url = elsewhere;
      response = await agent.fetchWithin(within, `${session.url}${path}`, init);
    }
    const settlement = readSettlement(response.headers);
    const receipt = settlement && receiptIn(settlement);
    if (!response.ok || receipt === undefined) throw fault("a2a_call_failed", `${session.offer.service} answered ${response.status}; nothing was charged.`);
    session.receipts.push(receipt);
    // The signer is the channel's receiverAuthorizer: the agent held the receipt against that before it handed the answer out.
    const [wrong] = [...(await sessionFaults(domain, session.agreement, [receipt], receipt.signer)), ...totalFaults(session.agreement, session.receipts)];
    if (wrong !== undefined) {
      sessions.clear();
      throw fault("agreement_broken", `${wrong.code}: ${wrong.detail}`);
    }
    return {
      status: response.status, output: outputOf(await response.text()), cost: formatAmount(BigInt(receipt.payload.amount)), service: session.offer.service, sessionId: session.sessionId, offer: session.offer, receipt, firstOffered: formatAmount(session.firstOffered),
    };
  }

  return {
    call,
    handOut,
    evidence,
    close: async () => void (await Promise.all([agent, ...apart].map((own) => own.close()))),
  };

  function random(): Hex {
    return bytesToHex(crypto.getRandomValues(new Uint8Array(32)));
  }
}

/** Where the relayer says that a service is sold by its provider's own server. */
async function selfHosted(response: Response): Promise<string | undefined> {
  if (response.status !== 404) return undefined;
  const told = outputOf(await response.clone().text()) as { code?: unknown; url?: unknown } | null;
  return told?.code === "service_self_hosted" && typeof told.url === "string" && /^https?:/.test(told.url) ? told.url.replace(/\/+$/, "") : undefined;
}

/** What is paid in on a chain. */
function tokenOf(chainId: number) {
  const chain = chainById(chainId);
  if (chain === undefined) throw new TypeError(`no chain ${chainId}`);
  return chain.usdc.address;
}

