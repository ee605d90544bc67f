// Reads what escrow and evaluator say of jobs, all at one block.
import type { Address } from "viem";
import { disputeEvaluatorAbi } from "../../../../sdk/src/abi/dispute-evaluator.ts";
import { jobEscrowAbi } from "../../../../sdk/src/abi/job-escrow.ts";
import { agreed } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import type { ChainState, RoundState } from "./types.ts";

export type ContractDeps = Pick<Deps, "chain" | "config">;

/** Jobs in one eth_call: eight reads each. */
const JOBS_A_CALL = 40;

/** What never changes of the evaluator. Amounts atomic units, times seconds. */
export type Constants = { minWindow: number; seatBond: bigint; maxPanel: number; valueMultiple: bigint };

/** True where both contracts stand. @throws TallystickError `chain_unavailable` (503). */
export async function contractsStand({ chain, config: { jobs } }: ContractDeps): Promise<boolean> {
  const codes = await agreed(chain, (client) => Promise.all([jobs.escrow, jobs.disputeEvaluator].map(async (address) => ((await client.getCode({ address })) ?? "0x") !== "0x")));
  return codes.every((stands) => stands);
}

export async function readConstants({ chain, config: { jobs } }: ContractDeps): Promise<Constants> {
  const read = { address: jobs.disputeEvaluator, abi: disputeEvaluatorAbi } as const;
  const [minWindow, seatBond, maxPanel, valueMultiple] = await agreed(chain, (client) =>
    client.multicall({
      allowFailure: false,
      contracts: [{ ...read, functionName: "MIN_WINDOW" }, { ...read, functionName: "SEAT_BOND" }, { ...read, functionName: "MAX_PANEL" }, { ...read, functionName: "VALUE_MULTIPLE" }],
    }),
  );
  return { minWindow, seatBond, maxPanel, valueMultiple };
}

export async function readOwed({ chain, config: { jobs } }: ContractDeps, accounts: readonly Address[]): Promise<{ account: Address; owed: bigint }[]> {
  const contracts = accounts.map((account) => ({ address: jobs.disputeEvaluator, abi: disputeEvaluatorAbi, functionName: "owed", args: [account] }) as const);
  const owed = await agreed(chain, (client) => client.multicall({ allowFailure: false, contracts }));
  return accounts.map((account, index) => ({ account, owed: owed[index]! }));
}

export async function readJobs(deps: ContractDeps, ids: readonly bigint[], block: bigint): Promise<Map<bigint, ChainState>> {
  const states = new Map<bigint, ChainState>();
  for (let start = 0; start < ids.length; start += JOBS_A_CALL) {
    const page = ids.slice(start, start + JOBS_A_CALL);
    const answers = await readPage(deps, page, block);
    page.forEach((id, index) => states.set(id, answers[index]!));
  }
  return states;
}

async function readPage({ chain, config: { jobs } }: ContractDeps, ids: readonly bigint[], blockNumber: bigint): Promise<ChainState[]> {
  const judge = { address: jobs.disputeEvaluator, abi: disputeEvaluatorAbi } as const;
  const escrow = { address: jobs.escrow, abi: jobEscrowAbi } as const;
  return agreed(chain, async (client) => {
    const read = { allowFailure: false, batchSize: 0, blockNumber } as const;
    const [states, cases, rounds, panels] = await Promise.all([
      client.multicall({ ...read, contracts: ids.map((id) => ({ ...escrow, functionName: "stateOf", args: [id] }) as const) }),
      client.multicall({ ...read, contracts: ids.map((id) => ({ ...judge, functionName: "caseOf", args: [id] }) as const) }),
      client.multicall({ ...read, contracts: ids.flatMap((id) => [1n, 2n].map((round) => ({ ...judge, functionName: "roundOf", args: [id, round] }) as const)) }),
      client.multicall({ ...read, contracts: ids.flatMap((id) => [1n, 2n].map((round) => ({ ...judge, functionName: "panelOf", args: [id, round] }) as const)) }),
    ]);
    return ids.map((_, index): ChainState => {
      const { client: payer, provider, evaluator, hook, budget, expiredAt, status } = states[index]!;
      const { phase, submittedAt, round } = cases[index]!;
      const state = { client: payer, provider, evaluator, hook, budgetAtomic: String(budget), expiredAt, status, phase, submittedAt, round };
      return { ...state, rounds: Array.from({ length: round }, (_unused, nth) => roundState(rounds[2 * index + nth]!, panels[2 * index + nth]!)) };
    });
  });
}

type ChainRound = { startedAt: number; endedAt: number; seedBlock: bigint; seats: number; committed: number; revealed: number; drawn: boolean; released: boolean; resultBps: number; payer: Address; bond: bigint };
type ChainSeat = { verifier: Address; providerBps: number; revealed: boolean; commitment: `0x${string}` };

function roundState({ startedAt, endedAt, seedBlock, seats, committed, revealed, drawn, released, resultBps, payer, bond }: ChainRound, panel: readonly ChainSeat[]): RoundState {
  return {
    startedAt, endedAt, seedBlock: Number(seedBlock), seats, committed, revealed, drawn, released, resultBps, payer, bondAtomic: String(bond),
    panel: panel.map((seat) => ({ verifier: seat.verifier, providerBps: seat.providerBps, revealed: seat.revealed, committed: BigInt(seat.commitment) !== 0n })),
  };
}
