// One agent calls another's API by what it can do: intent, offers, one counter-offer, session, payment, and every receipt held against what
// was agreed. Sessions are kept, so that the next call of the same kind goes straight to paying. Browser-safe.
import { bytesToHex, isAddressEqual, zeroHash, type Hex } from "viem";
import { createAgent, type Agent, type AgentOptions } from "../agent/agent.ts";
import { receiptIn } from "../agent/receipts.ts";
import { decodeHeader, readPaymentRequired, readSettlement } from "../agent/wire.ts";
import { BASE_SEPOLIA, chainById, SESSION_CHANNELS } from "../constants.ts";
import { TallystickError } from "../errors.ts";
import type { SignedReceipt } from "../receipt.ts";
import type { ChannelConfig } from "../typed-data.ts";
import { sessionFaults, totalFaults, type Agreement } from "./check.ts";
import { outputOf, type HandedSession } from "./by-token.ts";
import { fault, NegotiationClient, type Declined, type ProvenOffer } from "./client.ts";
import { formatAmount, parseAmount } from "./decimal.ts";
import type { Sla } from "./fields.ts";
import { negotiationDomain, type Intent, type MessageSigner, type Offer } from "./messages.ts";
import { BEST_FEW, candidates, createListings, firstPrice, noOffer, type SeenListing } from "./choose.ts";
import { sessionFileOf, type SessionFile, type SignedVoucher } from "./session-file.ts";
import { keepsSla } from "./terms.ts";

export type A2AOptions = Omit<AgentOptions, "fetch" | "onPayment" | "mandate"> & {
  relayerUrl: string;
  fetch?: typeof fetch;
  /** Calls that a session is opened for (100). */
  calls?: number;
};

export type A2ACall = {
  /** One service, by its name or its id in the registry; left out: whoever has the capability, listed services first. */
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

/** What a session is opened for, beside its terms. `apart`: in a channel of its own. */
type Opening = { calls?: number | undefined; apart?: boolean };

type Session = { sessionId: Hex; /** Where its calls go: the gateway, or the provider's own server. */ url: string; token: string | undefined; calls: number; budget: bigint; offer: Offer; agreement: Agreement; agent: Agent; receipts: SignedReceipt[]; firstOffered: bigint; expiresAt: number; /** The last voucher signed. */ paid?: { channelConfig: ChannelConfig; voucher: SignedVoucher } };

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
  const sessions = new Map<string, Promise<Session>>();

  async function agree({ agentId = "", capability = "", maxCost, sla = NO_SLA }: A2ACall, opening: Opening = {}): Promise<Session> {
    const maxPricePerRequest = parseAmount(maxCost, "maxCost");
    const now = nowS();
    const seen = agentId === "" ? await listings.withCapability(capability) : await ofOne(agentId);
    const service = agentId === "" ? "" : (seen[0]?.service ?? agentId);
    const intent: Intent = { intentId: random(), agent: options.account.address, service, capability, maxPricePerRequest, token: tokenOf(chainId), sla, expiresAt: now + INTENT_S };
    const { offers, declined } = await client.publishIntent(intent);
    const { first, chosen } = await best(intent, await candidatesOf(intent, offers, seen, declined));
    const { message: offer } = chosen.offer;
    const budget = offer.pricePerRequest * BigInt(Math.min(opening.calls ?? options.calls ?? DEFAULT_CALLS, offer.maxCalls));
    const { session, acceptance } = await client.accept(offer, { offerHash: chosen.offerHash, agent: intent.agent, budget, sessionExpiresAt: now + offer.sessionTtlS });
    const opened: Session = {
      sessionId: session.sessionId, token: session.sessionToken, calls: session.calls, budget, offer, agreement: { offer: chosen.offer, policy: chosen.policy, acceptance }, receipts: [], firstOffered: first.offer.message.pricePerRequest, expiresAt: acceptance.message.sessionExpiresAt,
      url: `${options.relayerUrl}/s/${offer.service}`, agent: undefined as unknown as Agent,
    };
    opened.agent = payer(opened, opening.apart === true);
    return opened;
  }

  async function ofOne(agentId: string): Promise<SeenListing[]> {
    const listing = await listings.find(agentId);
    return listing === undefined ? [] : [listing];
  }

  /** Offers of listed services first; where discovery had none of them, what the relayer says of each is asked. */
  async function candidatesOf({ maxPricePerRequest: most, sla }: Intent, offers: readonly ProvenOffer[], seen: readonly SeenListing[], declined: readonly Declined[]): Promise<ProvenOffer[]> {
    const known = new Set(seen.map(({ serviceId }) => serviceId));
    const unseen = new Set(offers.map(({ offer }) => offer.message.serviceId).filter((id) => id !== zeroHash && !known.has(id)));
    const looked = await Promise.all([...unseen].map((id) => listings.find(id)));
    const found = candidates(offers, [...seen, ...looked.filter((listing) => listing !== undefined)], { most, sla, nowS: nowS() });
    if (found.offers.length > 0) return found.offers;
    throw noOffer(most, [...declined, ...found.refused]);
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

  /** Pays within the session only: one deposit for all its calls, and never above the agreed price. */
  function payer(session: Session, apart: boolean): Agent {
    const fetcher = options.fetch ?? globalThis.fetch.bind(globalThis);
    const named: typeof fetch = async (input, init) => {
      const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
      headers.set("X-402-Session-Id", session.sessionId);
      remember(session, headers.get("payment-signature"));
      const response = await fetcher(input, { ...init, headers });
      checkPayee(session.offer, response);
      return response;
    };
    const limits = { ...options.limits, perCall: session.offer.pricePerRequest };
    const deposit = { calls: session.calls, max: session.budget, ...options.deposit };
    return createAgent({ ...options, chainId, limits, deposit, schemes: ["batch-settlement"], fetch: named, ...(apart ? { channelName: session.sessionId } : {}) });
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
    const opened = (await Promise.all([...sessions.values()].map((opening) => opening.catch(() => undefined)))).find((session) => session?.sessionId === sessionId);
    if (opened?.paid === undefined) return undefined;
    const { agreement, receipts, paid: { channelConfig, voucher } } = opened;
    return sessionFileOf(chainId, options.sessionChannels ?? SESSION_CHANNELS, agreement, { channelConfig, vouchers: [voucher], receipts });
  }

  async function handOut({ calls, ...wanted }: Parameters<A2A["handOut"]>[0]): Promise<HandedSession> {
    const session = await agree(wanted, { calls, apart: true });
    const { sessionId, token, budget, offer, agent, expiresAt } = session;
    if (token === undefined) throw fault("session_token", "The relayer gave no token for the session.");
    sessions.set(sessionId, Promise.resolve(session));
    const url = `${options.relayerUrl}/s/${offer.service}`;
    await agent.wallet.fund(budget, { url: `${url}/` });
    session.paid = await agent.wallet.voucher(budget, { url: `${url}/` });
    await client.leaveVoucher(sessionId, token, session.paid);
    return { url, sessionId, token, calls: session.calls, pricePerRequest: formatAmount(offer.pricePerRequest), expiresAt, chainId, contract: options.sessionChannels ?? SESSION_CHANNELS, channel: session.paid.channelConfig };
  }

  async function sessionOf(request: A2ACall): Promise<Session> {
    const key = JSON.stringify([request.agentId, request.capability, request.maxCost, request.sla]);
    const known = await sessions.get(key)?.catch(() => undefined);
    if (known !== undefined && known.expiresAt > Date.now() / 1000 + 5 && (await hasCalls(known))) return known;
    const opening = agree(request);
    sessions.set(key, opening);
    opening.catch(() => sessions.delete(key));
    return opening;
  }

  const hasCalls = async ({ receipts, agreement, offer }: Session): Promise<boolean> => BigInt(receipts.length) < agreement.acceptance.message.budget / offer.pricePerRequest;

  async function call(request: A2ACall): Promise<A2AResult> {
    const session = await sessionOf(request);
    const { input, path = "/", method = input === undefined ? "GET" : "POST" } = request;
    const init = { method, ...(input === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(input) }) };
    let response = await session.agent.fetch(`${session.url}${path}`, init);
    const elsewhere = await selfHosted(response);
    if (elsewhere !== undefined && elsewhere !== session.url) {
      session.url = elsewhere;
      response = await session.agent.fetch(`${session.url}${path}`, init);
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
    async close() {
      for (const opened of sessions.values()) await (await opened.catch(() => undefined))?.agent.close();
    },
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

