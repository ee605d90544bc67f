// Rules and terms of jobs as JSON and back: bigints are decimal strings there.
import type { HireTerms } from "../../../../sdk/src/job-messages.ts";
import type { JobRules } from "../../../../sdk/src/jobs/brief.ts";

export type WireRules = Omit<JobRules, "disputeBond"> & { disputeBondAtomic: string };
export type WireTerms = Omit<HireTerms, "expiredAt" | "budget"> & { expiredAt: number; budgetAtomic: string };

export const toWireRules = ({ disputeBond, ...rules }: JobRules): WireRules => ({ ...rules, disputeBondAtomic: String(disputeBond) });
export const fromWireRules = ({ disputeBondAtomic, ...rules }: WireRules): JobRules => ({ ...rules, disputeBond: BigInt(disputeBondAtomic) });
export const toWireTerms = ({ expiredAt, budget, ...terms }: HireTerms): WireTerms => ({ ...terms, expiredAt: Number(expiredAt), budgetAtomic: String(budget) });
export const fromWireTerms = ({ expiredAt, budgetAtomic, ...terms }: WireTerms): HireTerms => ({ ...terms, expiredAt: BigInt(expiredAt), budget: BigInt(budgetAtomic) });
