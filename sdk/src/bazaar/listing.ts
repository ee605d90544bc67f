// Offers services in the bazaar for an account: through a relayer, which stores the metadata, sells at once and pays the gas. What is signed is
// built here from what was asked, never taken from the relayer's answer.
import type { Address, Hex, LocalAccount } from "viem";
import { signIn } from "../access.ts";
import { serviceIdOf, type BazaarRegistryDomain, type ServiceStatus, type ServiceTerms, type ServiceVisibility } from "../bazaar.ts";
import { TallystickError } from "../errors.ts";
import { contentHashOf, parseMetadata, type Metadata } from "./metadata.ts";
import { knownRegistries, registryOf } from "./registry-of.ts";
import { actTypedData, metadataUri, saltOfName, serviceKeyOf, termsOfMetadata, type Act } from "./terms.ts";

export type Agent = {
  /** The registry's id. */
  id: Hex;
  name: string | null;
  url: string | null;
  owner: Address;
  agentId: string | null;
  salt: Hex;
  status: ServiceStatus;
  version: number;
  revision: number;
  current: boolean;
  payTo: Address;
  token: Address;
  network: string;
  registry: Address;
  priceAtomic: string;
  capability: string;
  categories: string[];
  schemes: string[];
  visibility: ServiceVisibility;
  contentHash: Hex;
  uri: string;
  availability: "online" | "offline" | "busy";
  availableAt: string | null;
  metadata: unknown;
};
export type Sent = { hash: Hex; status: "confirmed" | "pending" };
export type Listed = { agent: Agent; transaction: Sent | null };

/** A service as its owner offers it. */
export type Offering = {
  /** Path segment under /s/ of the relayer. */
  name: string;
  metadata: Metadata;
  /** The API that the relayer's gateway sells; or `url`, where a server of its own does. */
  origin?: string;
  url?: string;
  /** Who is paid; the account when left out. */
  payTo?: Address;
  visibility?: ServiceVisibility;
  /** ERC-8004 identity of the account that owns the service, instead of the account itself. */
  agentId?: bigint;
  minDepositCalls?: number;
  withdrawDelayS?: number;
  upstreamTimeoutMs?: number;
};

export type ListingClientOptions = {
  relayerUrl: string;
  account: Pick<LocalAccount, "address" | "signMessage" | "signTypedData">;
  /** BazaarRegistry that the account signs for; the published one of the relayer's chain, or that of the local world, when left out. */
  registry?: Address;
  fetch?: typeof fetch;
  /** Unix milliseconds. */
  now?: () => number;
};

/** What a relayer answers with. */
type Answer = { agent: Agent; sign: { primaryType: string; message: { deadline: string; terms?: { offer?: { uri?: unknown } } } } | null; transaction: Sent | null };

const SIGN_FOR_S = 900;

export type ListingClient = ReturnType<typeof createListingClient>;

export function createListingClient({ relayerUrl, account, registry, fetch: ask = fetch, now = Date.now }: ListingClientOptions) {
  const base = relayerUrl.replace(/\/+$/, "");
  let token: Promise<string> | undefined;

  async function call(method: string, path: string, body?: unknown): Promise<unknown> {
    token ??= signIn({ relayerUrl: base, account: account as LocalAccount, fetch: ask }).then((signed) => signed.token);
    token.catch(() => (token = undefined));
    const response = await ask(`${base}/api/v1/agents${path}`, {
      method, headers: { authorization: `Bearer ${await token}`, ...(body === undefined ? {} : { "content-type": "application/json" }) }, ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>;
    if (response.ok) return answer;
    if (response.status === 401) token = undefined;
    const { code = "relayer_failed", detail = `The relayer answered ${response.status}.`, retry = "unknown", field, ...extra } = answer as { code?: string; detail?: string; retry?: "never" | "safe" | "unknown"; field?: string };
    throw new TallystickError({ code, status: response.status, retry, detail, extra, ...(field === undefined ? {} : { field }) });
  }

  const act = async (method: string, path: string, body: unknown): Promise<Answer> => (await call(method, path, body)) as Answer;
  const deadline = (): bigint => BigInt(Math.floor(now() / 1_000) + SIGN_FOR_S);

  async function sign(agent: Agent, order: Act): Promise<{ signature: Hex; deadline: string }> {
    const signature = await account.signTypedData(actTypedData(domainOf(agent, registry), order) as Parameters<LocalAccount["signTypedData"]>[0]);
    return { signature, deadline: String(order.deadline) };
  }

  /** The terms that were asked for, checked against what the relayer would list. */
  function termsFor(agent: Agent, { metadata, payTo = account.address, visibility = "public" }: Pick<Offering, "metadata" | "payTo" | "visibility">): ServiceTerms {
    const contentHash = contentHashOf(metadata);
    const terms = termsOfMetadata(metadata, { payTo, visibility, uri: agent.uri });
    if (agent.contentHash !== contentHash || agent.uri !== metadataUri(originOf(agent.uri), contentHash)) throw mismatch(`the metadata hashes to ${contentHash}, the relayer has ${agent.contentHash} at ${agent.uri}`);
    return terms;
  }

  /** Offers a service, or changes one of that name, and lists it on chain. The same again changes nothing. */
  async function list(offering: Offering): Promise<Listed> {
    const metadata = parseMetadata(offering.metadata);
    const { name, agentId, ...offer } = { ...offering, metadata };
    const made = await act("POST", "", { ...offer, name, ...(agentId === undefined ? {} : { agentId: String(agentId) }) }).catch((error: unknown) => {
      if (error instanceof TallystickError && error.code === "listing_exists") return undefined;
      throw error;
    });
    if (made === undefined) return update(name, { ...offer, payTo: offering.payTo ?? account.address });
    const serviceId = serviceIdOf(domainOf(made.agent, registry), serviceKeyOf(account.address, saltOfName(name), agentId));
    if (made.agent.id !== serviceId) throw mismatch(`the service's id is ${serviceId}, the relayer says ${made.agent.id}`);
    if (made.sign === null) return made;
    // Delisted with other terms: those first.
    if (made.sign.primaryType === "UpdateService") await update(name, { ...offer, payTo: offering.payTo ?? account.address });
    if (made.sign.primaryType !== "ListService") return setStatus(serviceId, "listed");
    const terms = termsFor(made.agent, offer);
    return publish(made.agent, { kind: "list", serviceId, terms, publish: true, deadline: deadline() });
  }

  async function publish(agent: Agent, order: Act): Promise<Listed> {
    return act("POST", `/${agent.id}/publish`, await sign(agent, order));
  }

  /** Other terms for a service that is listed. Where it is sold stays as it is unless something else is said. */
  async function update(id: string, change: Omit<Offering, "name" | "agentId">): Promise<Listed> {
    const offer = { ...change, metadata: parseMetadata(change.metadata) };
    const asked = await act("PUT", `/${id}`, offer);
    if (asked.sign === null) return asked;
    const { agent } = asked;
    // Whom it was paid to before is only the relayer's word: the account signs for itself, or for whom it names.
    if (change.payTo === undefined && agent.payTo.toLowerCase() !== account.address.toLowerCase()) throw mismatch(`the service is paid to ${agent.payTo}; name payTo to sign for it again`);
    const terms = termsOfMetadata(offer.metadata, { payTo: change.payTo ?? agent.payTo, visibility: change.visibility ?? agent.visibility, uri: uriOf(asked.sign, contentHashOf(offer.metadata)) });
    const isNew = asked.sign.primaryType === "ListService";
    const order: Act = isNew ? { kind: "list", serviceId: agent.id, terms, publish: true, deadline: deadline() } : { kind: "update", serviceId: agent.id, revision: agent.revision, terms, deadline: deadline() };
    if (isNew) return publish(agent, order);
    return act("PUT", `/${id}`, { ...offer, ...(await sign(agent, order)), revision: agent.revision });
  }

  async function setStatus(id: string, status: Extract<ServiceStatus, "listed" | "suspended" | "delisted">): Promise<Listed> {
    const [method, path, body] = status === "delisted" ? (["DELETE", `/${id}`, {}] as const) : (["POST", `/${id}/status`, { status }] as const);
    const asked = await act(method, path, body);
    if (asked.sign === null) return asked;
    const { agent } = asked;
    return act(method, path, { ...body, ...(await sign(agent, { kind: "status", serviceId: agent.id, revision: agent.revision, status, deadline: deadline() })), revision: agent.revision });
  }

  return {
    list,
    update,
    pause: (id: string) => setStatus(id, "suspended"),
    resume: (id: string) => setStatus(id, "listed"),
    remove: (id: string) => setStatus(id, "delisted"),
    get: async (id: string): Promise<Agent> => (await call("GET", `/${id}`)) as Agent,
    /** All of the account's, listed or not. */
    mine: async (): Promise<Agent[]> => ((await call("GET", `?owner=${account.address}&limit=200`)) as { agents: Agent[] }).agents,
    availability: async (id: string, availability: Agent["availability"], availableAt?: Date): Promise<Agent> =>
      (await call("PUT", `/${id}/availability`, { availability, ...(availableAt === undefined ? {} : { availableAt: availableAt.toISOString() }) })) as Agent,
  };

  function domainOf(agent: Agent, wanted: Address | undefined): BazaarRegistryDomain {
    const chainId = Number(agent.network.split(":")[1]);
    const domain = registryOf(chainId, agent.registry, wanted);
    if (domain === undefined) throw mismatch(`the relayer's registry is ${agent.registry} on ${agent.network}, known is ${knownRegistries(chainId, wanted).join(", ") || "none"}`);
    return domain;
  }
}

/** Where this relayer serves the new document: the last one may be another's. */
function uriOf({ message: { terms } }: NonNullable<Answer["sign"]>, contentHash: Hex): string {
  const uri = terms?.offer?.uri;
  if (typeof uri === "string" && URL.canParse(uri) && uri === metadataUri(originOf(uri), contentHash)) return uri;
  throw mismatch(`the metadata hashes to ${contentHash}, and it would be found at ${String(uri)}`);
}

const originOf = (uri: string): string => uri.replace(/\/api\/v1\/metadata\/0x[0-9a-f]{64}$/, "");

/** Nothing was signed. */
function mismatch(detail: string): TallystickError {
  return new TallystickError({ code: "listing_mismatch", status: 502, retry: "never", detail: `The relayer answered something else than was asked: ${detail}. Nothing was signed.` });
}

