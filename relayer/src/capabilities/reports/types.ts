// What a report says, and what an operator decided.
import type { Address, Hex } from "viem";

export const REASONS = ["not_delivered", "wrong_price", "malicious", "impersonation", "illegal", "other"] as const;
export type ReportReason = (typeof REASONS)[number];
export type Report = { reportId: bigint; serviceId: Hex; reporter: Address; reason: ReportReason; evidenceHash: Hex; paid: bigint; state: "open" | "upheld" | "rejected"; note: string | undefined; decidedAt: Date | undefined; createdAt: Date };

export type Decision = { blocked: boolean; note: string; at: Date };
