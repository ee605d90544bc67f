// When a receiver's claimed money is moved to it. Pure.
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { WireSchedule } from "./schemas.ts";

export type Schedule =
  /** With every claim: what holds for receivers that asked for nothing else. */
  | { kind: "immediate" }
  /** Once so much is owed, atomic units. */
  | { kind: "threshold"; threshold: bigint }
  /** Everything claimed, once a day from that hour (UTC) on. */
  | { kind: "daily"; atUtcHour: number }
  | { kind: "on_demand" };

export const IMMEDIATE: Schedule = { kind: "immediate" };

export type PayoutState = {
  schedule: Schedule;
  /** Daily: what was due up to here is done. */
  servedUntil: Date;
  /** The receiver asked for its money, and has not got it yet. */
  asked: boolean;
};

/** Whether what is owed is moved by a transaction of its own now. */
export function isDue({ schedule, servedUntil, asked }: PayoutState, owed: bigint, now: Date): boolean {
  if (owed <= 0n) return false;
  if (asked || schedule.kind === "immediate") return true;
  if (schedule.kind === "threshold") return owed >= schedule.threshold;
  return schedule.kind === "daily" && hourBefore(schedule.atUtcHour, now) > servedUntil;
}

/**
 * Whether a claim moves the money in the same transaction. Daily money never goes with a claim: a claim in the afternoon would
 * be today's payout for what should wait until tomorrow.
 */
export function isDueWithClaim(state: PayoutState, owedAfter: bigint, now: Date): boolean {
  return (state.schedule.kind !== "daily" || state.asked) && isDue(state, owedAfter, now);
}

/** The newest moment at that hour that is not in the future. */
export function hourBefore(utcHour: number, now: Date): Date {
  const today = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate(), utcHour);
  return new Date(today <= now.getTime() ? today : today - 86_400_000);
}

/** @throws TallystickError 400 `schedule_malformed` for a part that is missing or belongs to another kind. */
export function readSchedule({ kind, thresholdAtomic, atUtcHour }: WireSchedule): Schedule {
  const belongs = (field: string, given: unknown, wanted: boolean) => {
    if ((given !== undefined) === wanted) return;
    throw new TallystickError({ code: "schedule_malformed", status: 400, retry: "never", field, detail: wanted ? `A ${kind} schedule needs ${field}.` : `${field} does not go with a ${kind} schedule.` });
  };
  belongs("thresholdAtomic", thresholdAtomic, kind === "threshold");
  belongs("atUtcHour", atUtcHour, kind === "daily");
  if (kind === "threshold") return { kind, threshold: BigInt(thresholdAtomic!) };
  return kind === "daily" ? { kind, atUtcHour: atUtcHour! } : { kind };
}
