// tallystick sell: an existing HTTP API for sale through the relayer's gateway, without a line of code.
import { getAddress, isAddress } from "viem";
import type { Command, Input, Outcome } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, usageError } from "../exit.ts";
import { parseUsdc, usdc } from "../money.ts";
import { columns } from "../output.ts";
import { callOpen, callRelayer } from "../relayer-api.ts";
import { httpUrl } from "../settings.ts";

type Service = { name: string; description: string; url: string; priceAtomic: string; receiver: string; network?: string };

const CONFLICT = 409;
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

export const sell: Command = {
  path: "sell",
  about: "Put an HTTP API up for sale through the relayer's gateway",
  args: "[origin]",
  positionals: [0, 1],
  details: `Buyers call <relayer>/s/<name>/… and pay; your API at the origin is called with the rest of the path and needs no change. The
service belongs to the account that signs in; giving the same name again changes it. Money goes to --receiver, else to that account.
An answer of your API may ask for less than the price with the header Settlement-Overrides.`,
  needs: ["relayer", "key"],
  options: {
    name: { type: "string", value: "name", about: "path segment under /s/: letters, digits, hyphens" },
    price: { type: "string", value: "usdc", about: "of one call, such as 0.001" },
    description: { type: "string", value: "text", about: "what it does, in a sentence" },
    receiver: { type: "string", value: "address", about: "who is paid; the account when left out" },
    remove: { type: "boolean", about: "take the service with that --name off sale" },
    list: { type: "boolean", about: "show what the relayer sells; needs no key" },
  },
  examples: [
    { about: "sell what runs on port 3000", line: "tallystick sell http://127.0.0.1:3000 --name weather --price 0.001 --description \"Forecasts\" --local" },
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
      await callRelayer(context, `/api/v1/services/${name}`, { method: "DELETE" });
      return { json: { removed: name }, text: `${name} is off sale.` };
    }
    return put(context, name, input);
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

async function put(context: Context, name: string, { values, positionals: [origin] }: Input): Promise<Outcome> {
  if (origin === undefined) throw usageError("The origin of your API is missing, such as http://127.0.0.1:3000.", "tallystick sell --help");
  if (typeof values["price"] !== "string") throw usageError("--price is missing, such as --price 0.001.");
  const price = parseUsdc(values["price"], "--price");
  if (price === 0n) throw usageError("--price must be more than 0.");
  const given = values["receiver"];
  if (given !== undefined && (typeof given !== "string" || !isAddress(given))) throw usageError("--receiver must be an address with a right checksum.");
  const receiver = given === undefined ? (await context.account()).address : getAddress(given as string);
  const service = { name, origin: httpUrl(origin, "The origin").replace(/\/+$/, ""), description: (values["description"] as string | undefined) ?? "", priceAtomic: price.toString(), receiver };
  const made = await create(context, service);
  const url = made.url ?? `${context.relayerUrl()}/s/${name}`;
  return {
    json: { ...service, ...made, url },
    text: columns([["for sale", url], ["price", `${usdc(price)} USDC a call`], ["paid to", receiver], ["try it", `tallystick pay ${url}/`]]),
  };
}
