// What a reputation is made of: facts that the chain settled, and what the receipts under it say. Amounts are atomic token units of a
// token of 6 decimals, times Unix seconds. Ids and addresses are lower-case hex.

/** A listing. */
export type ServiceFact = { serviceId: string; owner: string; payTo: string; registeredAtS: number; bondAtomic: bigint };

/** Tokens that moved between two accounts outside of channels. How far back they are known differs from chain to chain. */
export type Funding = { from: string; to: string; amountAtomic: bigint; atS: number };

/** A channel over its life. */
export type ChannelFact = { channelId: string; payer: string; receiver: string; openedAtS: number; depositedAtomic: bigint; /** Refunded or withdrawn. */ returnedAtomic: bigint };

/** What the receipts under the root of a claim say. Failed and late are among the acknowledged ones. */
export type ReceiptSums = { count: number; acknowledged: number; failed: number; late: number; creditedAtomic: bigint; latencyMs: number };

/** What one claim moved from a channel's payer to its receiver, for one service. */
export type ClaimFact = { channelId: string; serviceId: string; atS: number; amountAtomic: bigint; /** Undefined: nobody publishes them. */ receipts: ReceiptSums | undefined };

export const JOB_OUTCOMES = ["completed", "rejected", "expired", "split", "disputed_lost", "disputed_won"] as const;
/** A job that ended, from the provider's side. */
export type JobFact = { jobId: string; client: string; serviceId: string; atS: number; paidAtomic: bigint; outcome: (typeof JOB_OUTCOMES)[number] };

/** Score 0 to 100; the amount is what of the rater's payments the rating stands on. */
export type RatingFact = { serviceId: string; rater: string; atS: number; amountAtomic: bigint; score: number };

export type Facts = {
  nowS: number;
  services: readonly ServiceFact[];
  fundings: readonly Funding[];
  channels: readonly ChannelFact[];
  claims: readonly ClaimFact[];
  jobs: readonly JobFact[];
  ratings: readonly RatingFact[];
};
