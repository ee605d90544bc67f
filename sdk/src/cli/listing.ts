// What `sell` puts on chain: metadata from the command line and the API's own description, and the client that lists it.
import { formatUnits, type Address } from "viem";
import { createListingClient, type Agent, type Listed, type ListingClient } from "../bazaar/listing.ts";
import { parseMetadata, PRICING_UNITS, SUBSCRIPTION_PERIOD_S, type Metadata } from "../bazaar/metadata.ts";
import type { Derived } from "../bazaar/openapi.ts";
import { BASE, BASE_SEPOLIA, BATCH_SETTLEMENT } from "../constants.ts";
import type { Input, OptionSpec, Outcome } from "./command.ts";
import type { Context } from "./context.ts";
import { CliError, messageOf, usageError } from "./exit.ts";
import { usdc } from "./money.ts";
import { columns } from "./output.ts";
import { wholeNumber } from "./parse.ts";
import { callOpen } from "./relayer-api.ts";

type Values = Input["values"];

/** Options that describe a service. */
export const LISTING_OPTIONS: Record<string, OptionSpec> = {
  capability: { type: "string", value: "tag", about: "what it does, such as web.search: lists it on chain, where buyers find it" },
  category: { type: "string", value: "name", multiple: true, about: "such as data, search or inference; may be repeated; an unknown one is answered with all" },
  per: { type: "string", value: "call|unit|month", about: "what it buys: a call (when left out), an event of a stream, all calls of a buyer for 30 days" },
  scheme: { type: "string", value: "name", multiple: true, about: "how it takes payment; may be repeated; both schemes when left out, a month only by channel" },
  title: { type: "string", value: "text", about: "its name for people; that of the OpenAPI document, else --name" },
  "api-version": { type: "string", value: "version", about: "of the API; that of the OpenAPI document, else 1.0.0" },
  changelog: { type: "string", value: "text", about: "what is new in this version" },
  documentation: { type: "string", value: "url", about: "a page to read" },
  "sla-latency": { type: "string", value: "ms", about: "an answer comes within so long" },
  "sla-uptime": { type: "string", value: "percent", about: "so much of the time, such as 99.9; 99 when left out" },
  "credit-latency": { type: "string", value: "bps", about: "share of the price given back for a late answer, hundredths of a percent" },
  "credit-failure": { type: "string", value: "bps", about: "the same for an answer that fails" },
  unlisted: { type: "boolean", about: "on chain, but not shown by search" },
};

const DEFAULT_SCHEMES = ["exact", "batch-settlement"] as const;

export async function listingClient(context: Context): Promise<ListingClient> {
  return createListingClient({ relayerUrl: context.relayerUrl(), account: await context.account() });
}

/** The token that the relayer sells for. */
export async function tokenOf(context: Context): Promise<Address> {
  const { kinds = [] } = await callOpen<{ kinds?: { network: string }[] }>(context, "/supported");
  const chain = [BASE, BASE_SEPOLIA].find(({ chainId }) => kinds.some(({ network }) => network === `eip155:${chainId}`));
  if (chain !== undefined) return chain.usdc.address;
  throw new CliError({ code: "chain_unknown", detail: "The relayer sells on a chain that is not known here." });
}

/** What was said on the command line decides, then the API's own document, then what stood before. */
export function metadataFrom(values: Values, name: string, price: bigint, token: Address, derived: Derived | undefined, before?: Metadata): Metadata {
  const text = (option: string) => values[option] as string | undefined;
  const many = (option: string) => values[option] as string[] | undefined;
  const unit = unitOf(text("per"), before);
  const isMonthly = unit === "month";
  return parseMetadata({
    ...before,
    name: text("title") ?? before?.name ?? derived?.title ?? name,
    description: text("description") ?? before?.description ?? derived?.description ?? "",
    version: text("api-version") ?? derived?.version ?? before?.version ?? "1.0.0",
    ...given("changelog", text("changelog")), ...given("documentation", text("documentation")),
    capability: text("capability") ?? before?.capability,
    categories: many("category") ?? before?.categories ?? [],
    pricing: { model: modelOf(unit, before), price: formatUnits(price, 6), unit, token, ...(isMonthly ? { periodS: SUBSCRIPTION_PERIOD_S } : {}) },
    ...given("sla", slaFrom(values, before)), ...given("refundPolicy", refundsFrom(values, before)),
    endpoints: derived?.endpoints ?? before?.endpoints ?? [],
    schemes: many("scheme") ?? (isMonthly ? [BATCH_SETTLEMENT] : wasMonthly(before) ? undefined : before?.schemes) ?? [...DEFAULT_SCHEMES],
  });
}

function unitOf(per: string | undefined, before: Metadata | undefined): Metadata["pricing"]["unit"] {
  const unit = PRICING_UNITS.find((known) => known === (per ?? before?.pricing.unit ?? "call"));
  if (unit === undefined) throw usageError("--per must be call, unit or month.");
  return unit;
}

const wasMonthly = (before: Metadata | undefined): boolean => before?.pricing.unit === "month";

function modelOf(unit: Metadata["pricing"]["unit"], before: Metadata | undefined): Metadata["pricing"]["model"] {
  if (unit === "month") return "subscription";
  return before === undefined || wasMonthly(before) ? "per-use" : before.pricing.model;
}

const given = (name: string, value: unknown): Record<string, unknown> => (value === undefined ? {} : { [name]: value });

function slaFrom(values: Values, before: Metadata | undefined): unknown {
  const maxLatencyMs = wholeNumber("sla-latency", values["sla-latency"], 1, 3_600_000);
  const uptime = values["sla-uptime"] as string | undefined;
  if (maxLatencyMs === undefined && uptime === undefined) return before?.sla;
  if (maxLatencyMs === undefined && before?.sla === undefined) throw usageError("--sla-uptime goes with --sla-latency.");
  if (uptime !== undefined && !/^\d{1,3}(?:\.\d{1,2})?$/.test(uptime)) throw usageError("--sla-uptime must be a percentage such as 99.9, with at most two decimals.");
  return { maxLatencyMs: maxLatencyMs ?? before?.sla?.maxLatencyMs, minUptimePercent: uptime === undefined ? (before?.sla?.minUptimePercent ?? 99) : Number(uptime) };
}

function refundsFrom(values: Values, before: Metadata | undefined): unknown {
  const [latency, failure] = ["credit-latency", "credit-failure"].map((name) => wholeNumber(name, values[name], 0, 10_000));
  if (latency === undefined && failure === undefined) return before?.refundPolicy;
  return { latencyCreditBps: latency ?? before?.refundPolicy?.latencyCreditBps ?? 0, failureCreditBps: failure ?? before?.refundPolicy?.failureCreditBps ?? 0 };
}

const PROBE_MS = 5_000;

/** Something has to answer there before it is offered to anybody; what it answers is its own business. @throws CliError `origin_unreachable`. */
export async function probe(context: Context, origin: string, derived: Derived | undefined): Promise<number> {
  const path = derived?.endpoints.find(({ method, path: route }) => method === "GET" && !route.includes("{"))?.path ?? "/";
  try {
    const response = await fetch(`${origin}${path}`, { redirect: "manual", signal: AbortSignal.any([context.signal, AbortSignal.timeout(PROBE_MS)]) });
    await response.body?.cancel();
    return response.status;
  } catch (error) {
    throw new CliError({ code: "origin_unreachable", exit: "unreachable", retry: "safe", detail: `Nothing answers at ${origin}${path} within ${PROBE_MS} ms (${messageOf(error)}).`, hint: "Start the API first; nothing was listed." });
  }
}

export function listedOutcome({ agent, transaction }: Listed, more: Record<string, unknown> = {}, rows: string[][] = []): Outcome {
  return {
    json: { ...agentJson(agent), ...more, transaction },
    text: columns([
      ["service", agent.name ?? agent.id], ["id", agent.id], ["status", agent.status], ["for sale at", agent.url ?? "-"], ["price", `${usdc(BigInt(agent.priceAtomic))} USDC${unitText(agent)}`], ["paid to", agent.payTo], ["capability", agent.capability],
      ["terms", `version ${agent.version}, revision ${agent.revision}`], ...rows, ...(transaction === null ? [] : [["transaction", `${transaction.hash} (${transaction.status})`]]), ...(agent.url === null ? [] : [["try it", `tallystick pay ${agent.url}/`]]),
    ]),
  };
}

const unitText = ({ metadata }: Agent): string => {
  const unit = (metadata as Metadata | null)?.pricing.unit;
  return unit === undefined ? "" : ` a ${unit}`;
};

export const agentJson = ({ metadata: _metadata, ...agent }: Agent): Record<string, unknown> => ({ ...agent, receiver: agent.payTo });

