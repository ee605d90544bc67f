// An agent that sells what it can do: each capability is a handler, served as a paid route and listed in the bazaar.
//   const agents = createAgents({ relayerUrl, account, server: () => fastify(), publicUrl: "https://agent.example", port: 8080 });
//   await agents.create({ name: "weather", description: "Forecasts", capabilities: [{ name: "weather.forecast", handler: async ({ city }) => ({ celsius: 18 }), pricing: { price: "0.002" } }] });
import type { FastifyInstance } from "fastify";
import { createServer, type AddressInfo } from "node:net";
import type { Address, LocalAccount } from "viem";
import type { SERVICE_CATEGORIES } from "../bazaar.ts";
import { createListingClient, type Listed } from "../bazaar/listing.ts";
import { parseMetadata, slaOf, type Metadata, type Pricing, type RefundPolicy, type Sla } from "../bazaar/metadata.ts";
import { BASE, BASE_SEPOLIA } from "../constants.ts";
import { TallystickError } from "../errors.ts";
import { tallystick, type Payment } from "./fastify.ts";

export type Capability = {
  /** Tag, such as "web.search". */
  name: string;
  /** Takes the JSON that a buyer posts; what it returns is the answer. One that throws is not charged. */
  handler(input: any, call: { payment: Payment }): unknown;
  /** Price of a call in USDC, such as "0.002". */
  pricing: { price: string; model?: Exclude<Pricing["model"], "subscription"> };
  sla?: Sla;
  refundPolicy?: RefundPolicy;
  description?: string;
  categories?: (typeof SERVICE_CATEGORIES)[number][];
  /** JSON Schema; what a buyer posts is held to it before it is asked to pay. */
  inputSchema?: Record<string, unknown>;
  outputSchema?: unknown;
  sampleInput?: unknown;
  sampleOutput?: unknown;
};

export type AgentSpec = {
  /** Of its services at the relayer: lower-case letters, digits, hyphens. With several capabilities each adds its own name. */
  name: string;
  description: string;
  version?: string;
  documentation?: string;
  provider?: string;
  capabilities: readonly [Capability, ...Capability[]];
};

export type AgentsOptions = {
  relayerUrl: string;
  /** Owns the services, signs their terms and is paid. Needs no ether. */
  account: Pick<LocalAccount, "address" | "signMessage" | "signTypedData">;
  /** A new Fastify server. */
  server: () => FastifyInstance;
  /** Where buyers reach it, no trailing slash; where it listens when left out, which is for local use. */
  publicUrl?: string;
  host?: string;
  /** Any free one when left out. */
  port?: number;
  /** Who is paid; the account when left out. */
  payTo?: Address;
  /** BazaarRegistry; that of the relayer's chain when left out. */
  registry?: Address;
  onProblem?: (error: unknown) => void;
};

export type ServedCapability = Listed & { name: string; /** Name of the service. */ service: string; url: string };
export type ServedAgent = { url: string; capabilities: ServedCapability[]; /** Stops serving; the listings stay. */ close(): Promise<void> };

export function createAgents(options: AgentsOptions) {
  const client = createListingClient({ relayerUrl: options.relayerUrl, account: options.account, ...(options.registry === undefined ? {} : { registry: options.registry }) });
  return {
    /** Serves the handlers, then lists them. The same again brings the listings up to date. @throws TallystickError of metadata, listing or relayer: nothing is served then. */
    async create(spec: AgentSpec): Promise<ServedAgent> {
      const token = await tokenOf(options.relayerUrl);
      const parts = spec.capabilities.map((capability) => partOf(spec, capability, token));
      const { app, url } = await serve(options, parts);
      try {
        const capabilities: ServedCapability[] = [];
        for (const { capability, service, metadata } of parts) {
          const listed = await client.list({ name: service, metadata, url: `${url}/${service}`, ...(options.payTo === undefined ? {} : { payTo: options.payTo }) });
          capabilities.push({ ...listed, name: capability.name, service, url: `${url}/${service}` });
        }
        return { url, capabilities, close: () => app.close() };
      } catch (error) {
        await app.close();
        throw error;
      }
    },
    /** Listings of the account: pause, resume, remove, update, availability. */
    listings: client,
  };
}

type Part = { capability: Capability; service: string; metadata: Metadata };

function partOf(spec: AgentSpec, capability: Capability, token: Address): Part {
  const { description, version = "1.0.0", documentation, provider, name } = spec;
  const service = spec.capabilities.length === 1 ? name : `${name}-${capability.name.replace(/[^a-z0-9]+/g, "-")}`;
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(service)) throw new TallystickError({ code: "agent_malformed", status: 400, retry: "never", field: "name", detail: `${service} is no name of a service: lower-case letters, digits and hyphens, at most 63.` });
  const { pricing, sla, refundPolicy, categories = [], inputSchema, outputSchema, sampleInput, sampleOutput } = capability;
  const given = Object.fromEntries(Object.entries({ documentation, provider, sla: sla === undefined ? undefined : slaOf(sla), refundPolicy }).filter(([, value]) => value !== undefined));
  const endpoint = Object.fromEntries(Object.entries({ method: "POST", path: "/", inputSchema, outputSchema, sampleInput, sampleOutput }).filter(([, value]) => value !== undefined));
  const metadata = parseMetadata({
    name: spec.capabilities.length === 1 ? name : `${name}: ${capability.name}`, description: capability.description ?? description, version, capability: capability.name, categories,
    pricing: { model: pricing.model ?? "per-use", price: pricing.price, unit: "call", token }, endpoints: [endpoint], schemes: ["exact", "batch-settlement"], ...given,
  });
  return { capability, service, metadata };
}

async function serve({ relayerUrl, account, server, publicUrl, host = "127.0.0.1", port: wanted, payTo, onProblem }: AgentsOptions, parts: readonly Part[]): Promise<{ app: FastifyInstance; url: string }> {
  const port = wanted ?? (await freePort(host));
  const url = publicUrl?.replace(/\/+$/, "") ?? `http://${host}:${port}`;
  const app = server();
  for (const { capability, service, metadata } of parts) {
    // A scope of its own: what is sold in it is this service.
    void app.register(async (scope) => {
      void scope.register(tallystick, { relayerUrl, account, service, ...(payTo === undefined ? {} : { receiver: payTo }), ...(onProblem === undefined ? {} : { onProblem }), publicUrl: url });
      const price = `$${metadata.pricing.price}`;
      const options = { config: { price }, ...(capability.inputSchema === undefined ? {} : { schema: { body: capability.inputSchema } }) };
      scope.post(`/${service}`, options, async (request) => capability.handler(request.body, { payment: request.payment! }));
      scope.post(`/${service}/`, options, async (request) => capability.handler(request.body, { payment: request.payment! }));
    });
  }
  await app.listen({ host, port });
  return { app, url };
}

/** What the relayer's chain calls USDC. */
async function tokenOf(relayerUrl: string): Promise<Address> {
  const { kinds = [] } = (await (await fetch(`${relayerUrl.replace(/\/+$/, "")}/supported`)).json()) as { kinds?: { network: string }[] };
  const chain = [BASE, BASE_SEPOLIA].find(({ chainId }) => kinds.some(({ network }) => network === `eip155:${chainId}`));
  if (chain !== undefined) return chain.usdc.address;
  throw new TallystickError({ code: "chain_unknown", status: 502, retry: "never", detail: "The relayer sells on a chain that is not known here." });
}

/** Receipts name the address, so it is chosen before anything is served. */
async function freePort(host: string): Promise<number> {
  const probe = createServer();
  await new Promise<void>((done, fail) => void probe.once("error", fail).listen(0, host, done));
  const { port } = probe.address() as AddressInfo;
  await new Promise<void>((done) => void probe.close(() => done()));
  return port;
}
