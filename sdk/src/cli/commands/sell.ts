// tallystick sell: an existing HTTP API for sale through the relayer's gateway, without a line of code; with a capability, listed on chain too.
import { readApiSource } from "../api-source.ts";
import type { Command, Input, Outcome } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, usageError } from "../exit.ts";
import { listedOutcome, LISTING_OPTIONS, listingClient, metadataFrom, probe, tokenOf } from "../listing.ts";
import { parseUsdc, usdc } from "../money.ts";
import { columns } from "../output.ts";
import { callOpen, callRelayer } from "../relayer-api.ts";
import { httpUrl } from "../settings.ts";
import { receiverOf, sellRemove } from "./sell-listing.ts";

type Service = { name: string; description: string; url: string; priceAtomic: string; receiver: string; network?: string };

const CONFLICT = 409;
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

export const sell: Command = {
  path: "sell",
  about: "Put an HTTP API up for sale through the relayer's gateway",
  args: "[origin|openapi.json]",
  positionals: [0, 1],
  details: `Buyers call <relayer>/s/<name>/… and pay; your API at the origin is called with the rest of the path and needs no change. The
service belongs to the account that signs in; giving the same name again changes it. Money goes to --receiver, else to that account.
An answer of your API may ask for less than the price with the header Settlement-Overrides.

With --capability the service is listed in the bazaar's registry too: your account signs, the relayer sends and pays the gas. Routes and
schemas are read from an OpenAPI 3.x document in JSON: the one you name, or the one at <origin>/openapi.json when there is one. With --url
instead of an origin your own server sells, and is listed all the same.`,
  needs: ["relayer", "key"],
  options: {
    name: { type: "string", value: "name", about: "path segment under /s/: letters, digits, hyphens" },
    price: { type: "string", value: "usdc", about: "of one call, unit or month, such as 0.001" },
    origin: { type: "string", value: "url", about: "where the API is, when an OpenAPI document is given that does not say" },
    url: { type: "string", value: "url", about: "instead of an origin: your own server's public URL, which sells by itself" },
    description: { type: "string", value: "text", about: "what it does, in a sentence" },
    receiver: { type: "string", value: "address", about: "who is paid; the account when left out" },
    remove: { type: "boolean", about: "take the service with that --name off sale" },
    list: { type: "boolean", about: "show what the relayer sells; needs no key" },
    ...LISTING_OPTIONS,
  },
  examples: [
    { about: "sell what runs on port 3000", line: "tallystick sell http://127.0.0.1:3000 --name weather --price 0.001 --description \"Forecasts\" --local" },
    { about: "the same, listed on chain with its routes", line: "tallystick sell http://127.0.0.1:3000 --name weather --price 0.001 --capability weather.forecast --category data --local" },
    { about: "another price for it", line: "tallystick sell https://api.example --name weather --price 0.002" },
    { about: "what is for sale?", line: "tallystick sell --list --relayer https://relayer.example" },
    { about: "off sale", line: "tallystick sell --remove --name weather" },
  ],
  async run(context, input) {
    const { values, positionals } = input;
    if (values["list"] === true) return list(context);
    const name = typeof values["name"] === "string" && NAME.test(values["name"]) ? values["name"] : undefined;
    if (name === undefined) throw usageError("--name must be lower-case letters, digits and hyphens, at most 63.");
    if (values["remove"] === true) {
      if (positionals.length > 0 || values["price"] !== undefined) throw usageError("--remove goes with --name alone.");
      return sellRemove.run(context, { values, positionals: [name] });
    }
    return values["capability"] === undefined ? put(context, name, input) : offer(context, name, values["capability"] as string, input);
  },
};

async function list(context: Context): Promise<Outcome> {
  const { services } = await callOpen<{ services: Service[] }>(context, "/api/v1/services");
  const rows = services.map(({ name, priceAtomic, url, description }) => [name, `${usdc(BigInt(priceAtomic))} USDC`, url, description]);
  return { json: { services }, text: services.length === 0 ? "Nothing is for sale." : columns([["name", "price", "URL", ""], ...rows], { right: [1] }) };
}

/** A service of that name is changed when it is the account's; another's is the relayer's to refuse. */
async function create(context: Context, service: { name: string } & Record<string, string>): Promise<Partial<Service>> {
  try {
    return await callRelayer(context, "/api/v1/services", { method: "POST", body: service });
  } catch (error) {
    if (!(error instanceof CliError) || error.extra["status"] !== CONFLICT) throw error;
    return callRelayer(context, `/api/v1/services/${service.name}`, { method: "PUT", body: service });
  }
}

function priceOf({ values }: Input): bigint {
  if (typeof values["price"] !== "string") throw usageError("--price is missing, such as --price 0.001.");
  const price = parseUsdc(values["price"], "--price");
  if (price === 0n) throw usageError("--price must be more than 0.");
  return price;
}

/** Listed on chain, and sold at once. */
async function offer(context: Context, name: string, capability: string, input: Input): Promise<Outcome> {
  const { values, positionals: [given] } = input;
  if (!/^[a-z0-9][a-z0-9._-]{0,31}$/.test(capability)) throw usageError('--capability must be a tag such as web.search: a-z, 0-9, ".", "-" and "_", at most 32.');
  const price = priceOf(input);
  const url = values["url"] as string | undefined;
  if ((given === undefined) === (url === undefined)) throw usageError("Give the origin of your API (or its OpenAPI document), or --url of your own server.", "tallystick sell --help");
  const { origin, derived } = await readApiSource(given ?? url!, values["origin"] as string | undefined, context.signal);
  const metadata = metadataFrom(values, name, price, await tokenOf(context), derived);
  const answered = await probe(context, origin, derived);
  const payTo = receiverOf(values["receiver"]) ?? (await context.account()).address;
  const listed = await (await listingClient(context)).list({ name, metadata, payTo, ...(url === undefined ? { origin } : { url: origin }), visibility: values["unlisted"] === true ? "unlisted" : "public" });
  return listedOutcome(
    listed,
    { probe: { status: answered }, routes: metadata.endpoints.length, leftOut: derived?.left ?? [] },
    [["routes", derived === undefined ? "none known: no OpenAPI document was found" : `${metadata.endpoints.length} from OpenAPI${derived.left.length === 0 ? "" : `, without ${derived.left.join(", ")}`}`]],
  );
}

async function put(context: Context, name: string, input: Input): Promise<Outcome> {
  const { values, positionals: [origin] } = input;
  const own = values["url"] as string | undefined;
  if ((origin === undefined) === (own === undefined)) throw usageError("The origin of your API is missing, such as http://127.0.0.1:3000.", "tallystick sell --help");
  const unlistable = Object.keys(LISTING_OPTIONS).find((option) => values[option] !== undefined);
  if (unlistable !== undefined) throw usageError(`--${unlistable} is of a listing, which needs --capability.`);
  const price = priceOf(input);
  const receiver = receiverOf(values["receiver"]) ?? (await context.account()).address;
  const where: Record<string, string> = own === undefined ? { origin: httpUrl(origin!, "The origin").replace(/\/+$/, "") } : { url: httpUrl(own, "--url").replace(/\/+$/, "") };
  const service = { name, ...where, description: (values["description"] as string | undefined) ?? "", priceAtomic: price.toString(), receiver };
  const made = await create(context, service);
  const url = made.url ?? `${context.relayerUrl()}/s/${name}`;
  return {
    json: { ...service, ...made, url },
    text: columns([["for sale", url], ["price", `${usdc(price)} USDC a call`], ["paid to", receiver], ["try it", `tallystick pay ${url}/`]]),
  };
}
