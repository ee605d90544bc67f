// tallystick payouts show|schedule|now: when a receiver's claimed money is moved to it.
import type { Command, Outcome } from "../command.ts";
import type { Context } from "../context.ts";
import { usageError } from "../exit.ts";
import { parseUsdc, usdc } from "../money.ts";
import { columns } from "../output.ts";
import { wholeNumber } from "../parse.ts";
import { callRelayer } from "../relayer-api.ts";

type Request = { requestId: string; state: string; askedAt: string; amountAtomic?: string };
type Payouts = { receiver: string; schedule: { kind: string; thresholdAtomic?: string; atUtcHour?: number }; unclaimedAtomic: string; owedAtomic: string; paidOutAtomic: string; requests: Request[] };

const KINDS = ["immediate", "threshold", "daily", "on-demand"];

export const payoutsShow: Command = {
  path: "payouts show",
  about: "What you are owed, and when it is paid out",
  positionals: [0, 0],
  needs: ["relayer", "key"],
  options: {},
  examples: [{ about: "what has not reached me yet?", line: "tallystick payouts show" }],
  run: async (context) => shown(await callRelayer<Payouts>(context, "/api/v1/payouts")),
};

export const payoutsSchedule: Command = {
  path: "payouts schedule",
  about: "Choose when claimed money is moved to you",
  args: "<kind>",
  positionals: [1, 1],
  details: "immediate, threshold, daily or on-demand. immediate, with every claim, holds as long as nothing else is chosen.\nClaims themselves never wait: what is claimed cannot be withdrawn by the buyer any more, and anybody may settle it for you.",
  needs: ["relayer", "key"],
  options: {
    threshold: { type: "string", value: "usdc", about: "with threshold: once so much is claimed" },
    hour: { type: "string", value: "n", about: "with daily: from that hour on, UTC, 0 to 23" },
  },
  examples: [
    { about: "when there are 10 USDC", line: "tallystick payouts schedule threshold --threshold 10" },
    { about: "every morning", line: "tallystick payouts schedule daily --hour 6" },
    { about: "when I ask for it (payouts now)", line: "tallystick payouts schedule on-demand" },
  ],
  async run(context, { positionals: [kind], values }) {
    if (!KINDS.includes(kind!)) throw usageError(`The schedule is one of ${KINDS.join(", ")}.`);
    const threshold = typeof values["threshold"] === "string" ? parseUsdc(values["threshold"], "--threshold") : undefined;
    const atUtcHour = wholeNumber("hour", values["hour"], 0, 23);
    if ((threshold !== undefined) !== (kind === "threshold")) throw usageError("--threshold goes with threshold, and threshold with it.");
    if ((atUtcHour !== undefined) !== (kind === "daily")) throw usageError("--hour goes with daily, and daily with it.");
    if (threshold === 0n) throw usageError("--threshold must be more than 0.");
    const body = { kind: kind!.replace("-", "_"), ...(threshold === undefined ? {} : { thresholdAtomic: threshold.toString() }), ...(atUtcHour === undefined ? {} : { atUtcHour }) };
    return shown(await callRelayer<Payouts>(context, "/api/v1/payouts/schedule", { method: "PUT", body }));
  },
};

export const payoutsNow: Command = {
  path: "payouts now",
  about: "Ask for everything that is claimed",
  positionals: [0, 0],
  details: "The relayer's worker sends it with its next pass; asking again meanwhile is the same request.",
  needs: ["relayer", "key"],
  options: {},
  examples: [{ about: "now, please", line: "tallystick payouts now" }],
  async run(context: Context) {
    const asked = await callRelayer<Request>(context, "/api/v1/payouts", { method: "POST" });
    return { json: asked, text: `${asked.requestId} is ${asked.state}; tallystick payouts show tells what came of it.` };
  },
};

function shown(payouts: Payouts): Outcome {
  const { receiver, schedule, unclaimedAtomic, owedAtomic, paidOutAtomic, requests } = payouts;
  const when = schedule.thresholdAtomic !== undefined ? `from ${usdc(BigInt(schedule.thresholdAtomic))} USDC on` : schedule.atUtcHour !== undefined ? `daily from ${schedule.atUtcHour}:00 UTC on` : schedule.kind.replace("_", " ");
  const rows = [
    ["receiver", receiver], ["paid out", when], ["not claimed yet", `${usdc(BigInt(unclaimedAtomic))} USDC`], ["claimed, not paid out", `${usdc(BigInt(owedAtomic))} USDC`], ["paid out so far", `${usdc(BigInt(paidOutAtomic))} USDC`],
    ...requests.slice(0, 5).map(({ requestId, state, askedAt, amountAtomic }) => [`asked ${askedAt.slice(0, 10)}`, `${state}${amountAtomic === undefined ? "" : `, ${usdc(BigInt(amountAtomic))} USDC`} (${requestId})`]),
  ];
  return { json: payouts, text: columns(rows) };
}
