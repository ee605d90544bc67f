// tallystick sell list|update|pause|resume|remove: services of the account in the bazaar, each change signed by it and sent by the relayer.
import { getAddress, isAddress, type Address } from "viem";
import type { Agent } from "../../bazaar/listing.ts";
import type { Metadata } from "../../bazaar/metadata.ts";
import { priceAtomicOf } from "../../bazaar/metadata.ts";
import { TallystickError } from "../../errors.ts";
import { readApiSource } from "../api-source.ts";
import type { Command } from "../command.ts";
import { usageError } from "../exit.ts";
import { agentJson, listedOutcome, LISTING_OPTIONS, listingClient, metadataFrom } from "../listing.ts";
import { parseUsdc, usdc } from "../money.ts";
import { columns } from "../output.ts";
import { callRelayer } from "../relayer-api.ts";

export const sellList: Command = {
  path: "sell list",
  about: "Your services in the bazaar",
  positionals: [0, 0],
  needs: ["relayer", "key"],
  options: {},
  examples: [{ about: "what do I sell?", line: "tallystick sell list --local" }],
  async run(context) {
    const agents = await (await listingClient(context)).mine();
    const rows = agents.map(({ name, id, status, priceAtomic, capability, availability }) => [name ?? id, status, availability, `${usdc(BigInt(priceAtomic))} USDC`, capability]);
    return { json: { agents: agents.map(agentJson) }, text: rows.length === 0 ? "You have nothing in the bazaar." : columns([["name", "status", "", "price", "capability"], ...rows], { right: [3] }) };
  },
};

export const sellUpdate: Command = {
  path: "sell update",
  about: "Change a service of yours: price, metadata, who is paid, or how available it is",
  args: "<name>",
  positionals: [1, 1],
  details: `What is not said stays as it is. New terms are signed by your account and count once the chain has them; channels that are open pay the
new price, and one to an earlier --receiver buys nothing any more. --availability alone is neither signed nor on chain.`,
  needs: ["relayer", "key"],
  options: {
    price: { type: "string", value: "usdc", about: "of one call, unit or month" },
    description: { type: "string", value: "text", about: "what it does" },
    receiver: { type: "string", value: "address", about: "who is paid" },
    origin: { type: "string", value: "url", about: "where the API is now" },
    openapi: { type: "string", value: "file|url", about: "read its routes from this document" },
    availability: { type: "string", value: "online|busy|offline", about: "what is offline is not sold" },
    "available-at": { type: "string", value: "time", about: "when it is online again, ISO 8601" },
    ...LISTING_OPTIONS,
  },
  examples: [
    { about: "half the price", line: "tallystick sell update weather --price 0.0005" },
    { about: "back in the morning", line: "tallystick sell update weather --availability offline --available-at 2026-12-01T08:00:00Z" },
  ],
  async run(context, { values, positionals: [name] }) {
    const client = await listingClient(context);
    const { availability, "available-at": at, ...terms } = values;
    if (availability !== undefined || at !== undefined) {
      const agent = await client.availability(name!, availabilityOf(availability), timeOf(at));
      if (!changesTerms(terms)) return listedOutcome({ agent, transaction: null }, {}, [["available", availabilityText(agent)]]);
    }
    const agent = await client.get(name!);
    const before = agent.metadata as Metadata | null;
    if (before === null) throw new TallystickError({ code: "metadata_unknown", status: 404, retry: "never", detail: "The relayer has no metadata of it; sell it again." });
    const origin = values["origin"] as string | undefined;
    const document = values["openapi"] as string | undefined;
    const derived = document === undefined ? undefined : (await readApiSource(document, origin ?? "http://127.0.0.1", context.signal)).derived;
    const price = typeof values["price"] === "string" ? parseUsdc(values["price"], "--price") : priceAtomicOf(before.pricing);
    const metadata = metadataFrom(values, name!, price, before.pricing.token, derived, before);
    return listedOutcome(await client.update(name!, { metadata, payTo: receiverOf(values["receiver"]) ?? agent.payTo, ...(origin === undefined ? {} : { origin }), ...(values["unlisted"] === true ? { visibility: "unlisted" as const } : {}) }));
  },
};

const OTHER_OPTIONS = new Set(["availability", "available-at", "json", "help", "relayer", "local", "account", "keystore", "password-file"]);
const changesTerms = (values: Record<string, unknown>): boolean => Object.entries(values).some(([name, value]) => value !== undefined && (name in sellUpdate.options) && !OTHER_OPTIONS.has(name));

export function receiverOf(given: unknown): Address | undefined {
  if (given === undefined) return undefined;
  if (typeof given !== "string" || !isAddress(given)) throw usageError("--receiver must be an address with a right checksum.");
  return getAddress(given);
}

function availabilityOf(given: unknown): Agent["availability"] {
  if (given === undefined || given === "offline") return "offline";
  if (given === "online" || given === "busy") return given;
  throw usageError("--availability must be online, busy or offline.");
}

function timeOf(given: unknown): Date | undefined {
  if (given === undefined) return undefined;
  const time = new Date(String(given));
  if (Number.isNaN(time.getTime())) throw usageError("--available-at must be a time such as 2026-12-01T08:00:00Z.");
  return time;
}

const availabilityText = ({ availability, availableAt }: Agent): string => (availableAt === null ? availability : `${availability} until ${availableAt}`);

function moved(word: "pause" | "resume", about: string, example: string): Command {
  return {
    path: `sell ${word}`, about, args: "<name>", positionals: [1, 1], needs: ["relayer", "key"], options: {}, examples: [{ about: example, line: `tallystick sell ${word} weather` }],
    run: async (context, { positionals: [name] }) => listedOutcome(await (await listingClient(context))[word](name!)),
  };
}

export const sellPause = moved("pause", "Stop selling a service for now; the registry says so", "no calls for a while");
export const sellResume = moved("resume", "Sell a paused service again", "and on again");

export const sellRemove: Command = {
  path: "sell remove",
  about: "Take a service off sale for good: delisted on chain, gone from the gateway",
  args: "<name>",
  positionals: [1, 1],
  details: "What was sold stays sold: its payments, receipts and claims are not touched. The name stays yours.",
  needs: ["relayer", "key"],
  options: {},
  examples: [{ about: "off sale", line: "tallystick sell remove weather" }],
  async run(context, { positionals: [name] }) {
    const client = await listingClient(context);
    try {
      const listed = await client.remove(name!);
      return { json: { removed: name, ...agentJson(listed.agent), transaction: listed.transaction }, text: `${name} is off sale${listed.transaction === null ? "" : ` and delisted (${listed.transaction.hash})`}.` };
    } catch (error) {
      // One that was never listed is the gateway's alone.
      if (!(error instanceof TallystickError) || error.code !== "listing_unknown") throw error;
      await callRelayer(context, `/api/v1/services/${name}`, { method: "DELETE" });
      return { json: { removed: name }, text: `${name} is off sale.` };
    }
  },
};
