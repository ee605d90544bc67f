// tallystick find: services in the bazaar, best first, and why.
import { isAddress, type Address } from "viem";
import { createDiscoveryClient, type DiscoverQuestion, type FoundAgent } from "../../bazaar/discover.ts";
import { TallystickError } from "../../errors.ts";
import type { Command, Input, Outcome } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, usageError } from "../exit.ts";
import { parseUsdc, usdc } from "../money.ts";
import { columns } from "../output.ts";
import { wholeNumber } from "../parse.ts";

/** What a terminal would obey instead of show, in the words of strangers. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const WIDEST_NAME = 40;

export const find: Command = {
  path: "find",
  about: "Find services in the bazaar, best first",
  args: "[text]",
  positionals: [0, 1],
  details: `Words are looked up in names, tags and descriptions; "phrases" and -exclusions work. With --task the text is what is to be done, and
the answer says whether it was compared by words or by meaning. --why shows what each place is made of. A price is compared with the
registry when it is paid, not here.`,
  needs: ["relayer"],
  options: {
    capability: { type: "string", value: "tag", about: "such as web.search" },
    category: { type: "string", value: "name", about: "such as data" },
    "max-price": { type: "string", value: "usdc", about: "of one call, such as 0.01" },
    "max-response-time": { type: "string", value: "ms", about: "of nine in ten answers: measured, else promised" },
    "min-rating": { type: "string", value: "n", about: "0 to 100, from settled receipts" },
    uptime: { type: "string", value: "percent", about: "measured, else promised" },
    scheme: { type: "string", value: "name", about: "exact, batch-settlement, upto or escrow" },
    token: { type: "string", value: "address", about: "of the price" },
    limit: { type: "string", value: "n", about: "results, 1 to 100; 10 when left out" },
    task: { type: "boolean", about: "the text describes a task" },
    why: { type: "boolean", about: "what each place is made of" },
  },
  examples: [
    { about: "by words", line: "tallystick find \"web search\" --max-price 0.01" },
    { about: "by capability, quick ones", line: "tallystick find --capability data.weather --max-response-time 500 --why" },
    { about: "for a task", line: "tallystick find \"turn a German contract into English\" --task --local" },
  ],
  async run(context, input) {
    const question = questionOf(input);
    const [text] = input.positionals;
    const client = createDiscoveryClient({ relayerUrl: context.relayerUrl() });
    const isTask = input.values["task"] === true;
    if (isTask && text === undefined) throw usageError("--task needs the task as text.");
    const asked = isTask ? client.recommend(text!, question) : client.discover({ ...question, ...(text === undefined ? {} : { text }) });
    const found = await asked.catch((error: unknown) => {
      throw error instanceof TallystickError ? new CliError({ code: error.code, detail: error.message, retry: error.retry, field: error.field, exit: error.status >= 500 ? "unreachable" : "failed" }) : error;
    });
    return { json: { ...found }, text: shown(context, found.agents, input.values["why"] === true, found.partialResults) };
  },
};

function questionOf({ values }: Input): DiscoverQuestion {
  const text = (name: string) => (typeof values[name] === "string" ? { [name]: values[name] as string } : {});
  const token = values["token"];
  if (token !== undefined && (typeof token !== "string" || !isAddress(token, { strict: false }))) throw usageError("--token must be an address.");
  const maxPrice = values["max-price"];
  const [responseTime, limit] = [wholeNumber("--max-response-time", values["max-response-time"], 1, 3_600_000), wholeNumber("--limit", values["limit"], 1, 100) ?? 10];
  return {
    ...text("capability"), ...text("category"), ...text("scheme"), limit,
    ...(typeof maxPrice === "string" ? { maxPrice: usdc(parseUsdc(maxPrice, "--max-price")) } : {}),
    ...(responseTime === undefined ? {} : { maxResponseTime: responseTime }),
    ...percent("--min-rating", values["min-rating"], "minRating"), ...percent("--uptime", values["uptime"], "uptime"),
    ...(token === undefined ? {} : { token: token as Address }),
  };
}

function percent(option: string, value: unknown, name: "minRating" | "uptime"): DiscoverQuestion {
  if (value === undefined) return {};
  if (typeof value !== "string" || !/^\d{1,3}(?:\.\d{1,2})?$/.test(value) || Number(value) > 100) throw usageError(`${option} must be from 0 to 100.`);
  return { [name]: Number(value) };
}

function shown(context: Context, agents: readonly FoundAgent[], why: boolean, partial: boolean): Outcome["text"] & string {
  const note = partial ? ["", "This relayer does not know all services of the chain now."] : [];
  if (agents.length === 0) return ["Nothing found.", ...note].join("\n");
  const rows = agents.map((agent) => [plain(agent.name).slice(0, WIDEST_NAME), plain(agent.capability), `${plain(agent.price)} USDC a ${plain(agent.unit)}`, speedOf(agent), uptimeOf(agent), agent.rank.score.toFixed(3), plain(agent.url)]);
  const table = columns([["name", "capability", "price", "p90", "uptime", "score", "URL"], ...rows], { right: [2, 3, 4, 5] });
  return [table, ...(why ? agents.flatMap((agent) => ["", reasons(context, agent)]) : []), ...note].join("\n");
}

const speedOf = ({ measured, sla }: FoundAgent): string => (measured.p90Ms !== null ? `${measured.p90Ms} ms` : sla === null ? "" : `(${sla.maxLatencyMs} ms)`);
const uptimeOf = ({ measured, sla }: FoundAgent): string => (measured.uptimePercent !== null ? `${measured.uptimePercent} %` : sla === null ? "" : `(${sla.minUptimePercent} %)`);

function reasons(context: Context, { name, rank }: FoundAgent): string {
  const rows = rank.factors.map(({ factor, weight, value, contribution, why }) => [plain(factor), weight.toFixed(3), value.toFixed(3), contribution.toFixed(3), plain(why)]);
  return `${context.output.paint("bold", plain(name))}\n${columns([["", "weight", "value", "adds", "because"], ...rows], { right: [1, 2, 3], indent: "  " })}`;
}

const plain = (text: string): string => String(text).replace(UNSEEN, "");
