// Which lane a transaction goes to. Pure: what is known of the lanes comes in, their order comes out.

/**
 * What holds a lane up. ok: nothing. stuck: its first transaction is not mined though its fees were raised. gapped: the chain
 * waits for a nonce that no row has. fee_capped: higher fees would be above the cap. unfunded: it cannot pay for what was asked.
 * signer_down: its key could not be used.
 */
export const LANE_STATES = ["ok", "stuck", "gapped", "fee_capped", "unfunded", "signer_down"] as const;
export type LaneState = (typeof LANE_STATES)[number];

export type Candidate = {
  state: LaneState;
  /** Transactions under way: unresolved ones, and those being prepared in this process. */
  load: number;
};

/**
 * The lanes in the order in which they are tried: healthy before troubled, the least loaded first, equals by turn, so that several
 * processes do not all begin with the first. A troubled lane is better than none: what is signed in it goes out when it heals.
 */
export function inOrder<T extends Candidate>(lanes: readonly T[], turn: number): T[] {
  const rotated = lanes.map((_, index) => lanes[(index + turn) % lanes.length]!);
  return rotated.sort((a, b) => Number(a.state !== "ok") - Number(b.state !== "ok") || a.load - b.load);
}
