// tallystick dispute open|vote|reveal|rule|show: what becomes of a job that its parties do not agree on.
import { TallystickError } from "../../errors.ts";
import type { Command } from "../command.ts";
import { ABOUT_A_JOB, neededText, VERDICT, verdictIn } from "../job-options.ts";
import { filesIn, jobIdIn, jobOutcome, openJobs } from "../job-view.ts";
import { usdc } from "../money.ts";
import { columns } from "../output.ts";
import { findVotes, keepVote } from "../vote-files.ts";

export const disputeOpen: Command = {
  path: "dispute open",
  about: "Contest what was delivered, within the review window",
  ...ABOUT_A_JOB,
  details: "Puts up the bond that was fixed at hire, by one signature: half of it pays the panel, the other half follows the ruling.",
  options: {
    description: { type: "string", value: "text", about: "what is wrong" },
    attach: { type: "string", value: "file", multiple: true, about: "evidence; may be repeated" },
    log: { type: "string", value: "file", multiple: true, about: "a log; may be repeated" },
  },
  examples: [{ about: "half is missing", line: "tallystick dispute open job_51fe… --description \"The second page is missing\" --attach page.txt" }],
  async run(context, input) {
    const description = neededText(input.values, "description", "Say what is wrong");
    const [attachments, logs] = await Promise.all([filesIn(input.values, "attach"), filesIn(input.values, "log")]);
    const { job, transaction } = await (await openJobs(context)).dispute(jobIdIn(input), { description, attachments, logs });
    return jobOutcome(job, transaction);
  },
};

export const disputeVote: Command = {
  path: "dispute vote",
  about: "Vote as a verifier of the panel: commits now, reveal follows",
  ...ABOUT_A_JOB,
  details: `The vote is kept in the storage folder, and nobody else knows it until tallystick dispute reveal opens it. A seat that does not
reveal in time loses its bond.`,
  needs: [...ABOUT_A_JOB.needs, "state"],
  options: VERDICT,
  examples: [{ about: "half was done", line: "tallystick dispute vote job_51fe… --share 50 --reason \"one page of two\"" }],
  async run(context, input) {
    const jobId = jobIdIn(input);
    const verdict = verdictIn(input.values);
    let file = "";
    const vote = await (await openJobs(context)).commit(jobId, verdict, async (secret) => {
      file = await keepVote(context.settings.stateDir, jobId, secret);
    });
    return { json: { jobId, seat: vote.seat, round: String(vote.round), commitment: vote.commitment, file }, text: `Committed from seat ${vote.seat}. Reveal it when all have voted or the window is over:\ntallystick dispute reveal ${jobId}` };
  },
};

export const disputeReveal: Command = {
  path: "dispute reveal",
  about: "Open the vote that was committed from here",
  ...ABOUT_A_JOB,
  needs: [...ABOUT_A_JOB.needs, "state"],
  options: {},
  examples: [{ about: "before the window ends", line: "tallystick dispute reveal job_51fe…" }],
  async run(context, input) {
    const jobId = jobIdIn(input);
    const jobs = await openJobs(context);
    let refusal: unknown;
    // Of several that were kept, one is on the chain: those that never got there do not open its commitment.
    for (const vote of await findVotes(context.settings.stateDir, jobId)) {
      try {
        const { job, transaction } = await jobs.reveal(jobId, vote);
        return jobOutcome(job, transaction);
      } catch (error) {
        if (!(error instanceof TallystickError) || error.extra["contractError"] !== "InvalidVote") throw error;
        refusal = error;
      }
    }
    throw refusal;
  },
};

export const disputeRule: Command = {
  path: "dispute rule",
  about: "Rule as a job's arbitrator; final at once",
  ...ABOUT_A_JOB,
  options: VERDICT,
  examples: [{ about: "a quarter was done", line: "tallystick dispute rule job_51fe… --share 25 --reason \"one page of four\"" }],
  async run(context, input) {
    const { job, transaction } = await (await openJobs(context)).rule(jobIdIn(input), verdictIn(input.values));
    return jobOutcome(job, transaction);
  },
};

type Seat = { verifier: string; committed: boolean; revealed: boolean; providerBps: number };
type Dispute = { status: string; rounds: { panel: Seat[] }[]; outcome: { refund: string; refundAtomic: string } | null };

export const disputeShow: Command = {
  path: "dispute show",
  about: "Show how a dispute stands, what was said and how was voted",
  ...ABOUT_A_JOB,
  options: {},
  examples: [{ about: "is there a ruling?", line: "tallystick dispute show job_51fe…" }],
  async run(context, input) {
    const shown = await (await openJobs(context)).showDispute(jobIdIn(input));
    const { status, rounds, outcome } = shown["dispute"] as Dispute;
    const statements = shown["statements"] as { party: string; description: string }[];
    const seats = rounds.flatMap(({ panel }, index) => panel.map(({ verifier, committed, revealed, providerBps }) => [`round ${index + 1}`, verifier, revealed ? `${providerBps / 100}% to the provider` : committed ? "committed" : "waits"]));
    const ruling = outcome === null ? [] : [["refund", `${outcome.refund}, ${usdc(BigInt(outcome.refundAtomic))} USDC`, ""]];
    return { json: shown, text: columns([["status", status, ""], ...statements.map(({ party, description }) => ["says", party, description]), ...seats, ...ruling]) };
  },
};
