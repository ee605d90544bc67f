// tallystick job post|quote|hire|submit|accept|reject|show|list: work that is not one call, paid out of escrow.
import { writeFile } from "node:fs/promises";
import type { ReleaseCondition } from "../../jobs/brief.ts";
import type { JsonSchema } from "../../jobs/schema-check.ts";
import type { JobMandate } from "../../jobs/mandate.ts";
import type { Command, Input } from "../command.ts";
import type { Context } from "../context.ts";
import { usageError } from "../exit.ts";
import { ABOUT_A_JOB, moneyIn, neededText, secondsIn, WITHIN, withinIn } from "../job-options.ts";
import { addressIn, fileAt, jobIdIn, jobOutcome, openJobs, textIn } from "../job-view.ts";
import { findMandate } from "../mandate-files.ts";
import { usdc } from "../money.ts";
import { columns } from "../output.ts";
import { wholeNumber } from "../parse.ts";

export const jobPost: Command = {
  path: "job post",
  about: "Ask for work: of one provider, or of whoever quotes",
  positionals: [0, 0],
  details: `Nothing is paid yet: tallystick job hire does that. What the provider delivers counts as accepted when the review window ends in
silence; --schema and --sha256 have the relayer accept what fits at once, --validator leaves the decision to a validator's signature.`,
  needs: ["relayer", "key"],
  options: {
    title: { type: "string", value: "text", about: "in a few words" },
    description: { type: "string", value: "text", about: "what is to be done, and what is good" },
    provider: { type: "string", value: "address", about: "who is asked; whoever quotes when left out" },
    budget: { type: "string", value: "usdc", about: "what you offer; left out, quotes are asked for" },
    client: { type: "string", value: "address", about: "whose money it is, when you hire under its mandate; yours when left out" },
    ...WITHIN,
    review: { type: "string", value: "seconds", about: "how long you may look at what is delivered; a day when left out" },
    panel: { type: "string", value: "n", about: "verifiers on the first panel of a dispute, 1 to 9; 3 when left out" },
    arbitrator: { type: "string", value: "address", about: "rules alone instead of a panel" },
    schema: { type: "string", value: "file", about: "JSON Schema that a deliverable must conform to" },
    sha256: { type: "string", value: "hash", about: "SHA-256 that the deliverable must have" },
    validator: { type: "string", value: "address", about: "whose signed verdict pays; with --validator-url" },
    "validator-url": { type: "string", value: "url", about: "where the relayer asks the validator" },
  },
  examples: [
    { about: "of one provider, for 2 USDC", line: "tallystick job post --provider 0x7099…79C8 --title \"Translate a page\" --description \"From English to French\" --budget 2" },
    { about: "of whoever quotes", line: "tallystick job post --title \"Label 500 images\" --description \"See the list\" --within 172800" },
  ],
  async run(context, { values }) {
    const [title, description] = [neededText(values, "title", "Say what is to be done"), neededText(values, "description", "Say what is to be done")];
    const [provider, client, arbitrator, budget] = [addressIn(values, "provider"), addressIn(values, "client"), addressIn(values, "arbitrator"), moneyIn(values, "budget")];
    const reviewWindow = secondsIn(values, "review");
    const panelSize = wholeNumber("--panel", values["panel"], 1, 9);
    const rules = { ...(reviewWindow === undefined ? {} : { reviewWindow }), ...(panelSize === undefined ? {} : { panelSize }), ...(arbitrator === undefined ? {} : { arbitrator }) };
    const releaseCondition = await conditionIn(values);
    const jobs = await openJobs(context);
    const job = await jobs.post({
      title, description, deliverWithinS: withinIn(values), rules, ...(provider === undefined ? {} : { provider }), ...(client === undefined ? {} : { client }), ...(budget === undefined ? {} : { budget }),
      ...(releaseCondition === undefined ? {} : { releaseCondition }),
    });
    return jobOutcome(job);
  },
};

async function conditionIn(values: Input["values"]): Promise<ReleaseCondition | undefined> {
  const [schema, sha256, validator] = [textIn(values, "schema"), textIn(values, "sha256"), addressIn(values, "validator")];
  if ([schema, sha256, validator].filter((given) => given !== undefined).length > 1) throw usageError("Give one of --schema, --sha256 and --validator.");
  if (schema !== undefined) return { type: "automatic", schema: parsedSchema(schema, (await fileAt(schema)).content) };
  if (sha256 !== undefined) {
    if (!/^(0x)?[0-9a-fA-F]{64}$/.test(sha256)) throw usageError("--sha256 must be 64 hex digits.");
    return { type: "automatic", sha256: `0x${sha256.replace(/^0x/, "").toLowerCase()}` };
  }
  if (validator === undefined) return undefined;
  const url = textIn(values, "validator-url");
  if (url === undefined) throw usageError("--validator goes with --validator-url.");
  return { type: "outcome", outcomeValidator: { address: validator, url } };
}

function parsedSchema(path: string, content: Uint8Array): JsonSchema {
  try {
    return JSON.parse(Buffer.from(content).toString("utf8")) as JsonSchema;
  } catch {
    throw usageError(`${path} is no JSON.`);
  }
}

export const jobQuote: Command = {
  path: "job quote",
  about: "Say what you ask for a job",
  ...ABOUT_A_JOB,
  options: { price: { type: "string", value: "usdc", about: "for all of it" }, ...WITHIN, note: { type: "string", value: "text", about: "for the client" } },
  examples: [{ about: "for 1.50 USDC, in an hour", line: "tallystick job quote job_51fe… --price 1.5 --within 3600" }],
  async run(context, input) {
    const price = moneyIn(input.values, "price");
    if (price === undefined) throw usageError("--price is missing, such as --price 1.5.");
    const note = textIn(input.values, "note");
    const jobs = await openJobs(context);
    return jobOutcome(await jobs.quote(jobIdIn(input), { budgetAtomic: String(price), deliverWithinS: withinIn(input.values), ...(note === undefined ? {} : { note }) }));
  },
};

export const jobHire: Command = {
  path: "job hire",
  about: "Pay a job's budget into escrow, by one signature",
  ...ABOUT_A_JOB,
  details: `Your account needs the tokens, no allowance and no ether: the relayer sends the transaction and pays its gas. With --mandate it is your
principal that pays: it let the registry move its tokens (tallystick mandate create --allow), and you posted the job with --client.`,
  needs: [...ABOUT_A_JOB.needs, "state"],
  options: {
    provider: { type: "string", value: "address", about: "whose quote you take, when there are several" },
    max: { type: "string", value: "usdc", about: "refuse to pay more" },
    mandate: { type: "string", value: "mandate", about: "pay a principal's money under this mandate; its file, or the beginning of its id" },
  },
  examples: [
    { about: "whoever quoted, for at most 2 USDC", line: "tallystick job hire job_51fe… --max 2" },
    { about: "with the money of whoever gave you a mandate", line: "tallystick job hire job_51fe… --mandate 0x51fe" },
  ],
  async run(context, input) {
    const [provider, most] = [addressIn(input.values, "provider"), moneyIn(input.values, "max")];
    const mandate = await mandateIn(context, input.values);
    const { job, transaction } = await (await openJobs(context)).hire(jobIdIn(input), { ...(provider === undefined ? {} : { provider }), ...(most === undefined ? {} : { most }), ...(mandate === undefined ? {} : { mandate }) });
    return jobOutcome(job, transaction);
  },
};

async function mandateIn(context: Context, values: Input["values"]): Promise<JobMandate | undefined> {
  const name = textIn(values, "mandate");
  if (name === undefined) return undefined;
  const { at, lineage } = await findMandate(context.settings.stateDir, name);
  return { lineage, registry: at.registry };
}

export const jobSubmit: Command = {
  path: "job submit",
  about: "Hand in what was asked for",
  args: "<job> <file>",
  positionals: [2, 2],
  details: "The relayer keeps the file for the parties, sealed; its SHA-256 goes to the chain under your signature.",
  needs: ["relayer", "key"],
  options: {},
  examples: [{ about: "a translated page", line: "tallystick job submit job_51fe… page.fr.txt" }],
  async run(context, input) {
    const file = await fileAt(input.positionals[1]!);
    const { job, transaction } = await (await openJobs(context)).submit(jobIdIn(input), file);
    return jobOutcome(job, transaction);
  },
};

export const jobAccept: Command = {
  path: "job accept",
  about: "Have the provider paid at once, before the review window ends",
  ...ABOUT_A_JOB,
  options: {},
  examples: [{ about: "it is good", line: "tallystick job accept job_51fe…" }],
  async run(context, input) {
    const { job, transaction } = await (await openJobs(context)).accept(jobIdIn(input));
    return jobOutcome(job, transaction);
  },
};

export const jobReject: Command = {
  path: "job reject",
  about: "Give a job up as its provider: the client is refunded",
  ...ABOUT_A_JOB,
  details: "A client that is not content with what was delivered opens a dispute: tallystick dispute open.",
  options: {},
  examples: [{ about: "it cannot be done", line: "tallystick job reject job_51fe…" }],
  async run(context, input) {
    const { job, transaction } = await (await openJobs(context)).reject(jobIdIn(input));
    return jobOutcome(job, transaction);
  },
};

export const jobShow: Command = {
  path: "job show",
  about: "Show a job: what was agreed, where its money is, how it stands",
  ...ABOUT_A_JOB,
  options: { out: { type: "string", value: "file", about: "write what was delivered there" }, history: { type: "boolean", about: "what happened, too" } },
  examples: [{ about: "and keep what was delivered", line: "tallystick job show job_51fe… --out page.fr.txt" }],
  async run(context, input) {
    const jobs = await openJobs(context);
    const job = await jobs.show(jobIdIn(input));
    const out = textIn(input.values, "out");
    if (out !== undefined) await writeFile(out, (await jobs.deliverable(job.jobId)).content);
    const history = input.values["history"] === true ? await jobs.history(job.jobId) : undefined;
    const shown = jobOutcome(job);
    if (history === undefined) return shown;
    const rows = history.map(({ at, kind, by }) => [String(at), String(kind), by === null ? "" : String(by)]);
    return { json: { ...shown.json, history }, text: [String(shown.text), "", columns([["at", "what", "by"], ...rows])].join("\n") };
  },
};

export const jobList: Command = {
  path: "job list",
  about: "List the jobs you have a part in",
  positionals: [0, 0],
  needs: ["relayer", "key"],
  options: { role: { type: "string", value: "role", about: "client, provider, verifier, any, or open: those that wait for quotes" } },
  examples: [{ about: "what could be done for money?", line: "tallystick job list --role open" }],
  async run(context, { values }) {
    const role = textIn(values, "role") ?? "any";
    if (!["client", "provider", "verifier", "any", "open"].includes(role)) throw usageError("--role must be client, provider, verifier, any or open.");
    const jobs = await (await openJobs(context)).list(role);
    const rows = jobs.map((job) => [job.jobId, job.state, job.budgetAtomic === null ? "?" : usdc(BigInt(job.budgetAtomic)), String(job["title"])]);
    return { json: { jobs }, text: rows.length === 0 ? "There are no jobs." : columns([["job", "state", "USDC", ""], ...rows], { right: [2] }) };
  },
};
