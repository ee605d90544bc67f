// The most that a stolen key can cost, derived from mandate, chain and guard. Pure.
//
// With the agent's key alone a thief can (1) spend or deposit straight at the registry, up to what the chain leaves of every mandate of the
// lineage, to the payees that all of them allow; and (2) ask the guard for vouchers on channels that hold deposits already: up to what is
// in them above the highest ceiling signed, and up to what the guard leaves. What is signed already is spent, not lost. With the guard's
// voucher key too, (2) has no guard: all that is in the channels.
import type { Address } from "viem";
import type { Lineage } from "../lineage.ts";
import { zeroHash } from "viem";
import type { Mandate } from "../mandate.ts";
import type { MandateOnChain } from "../registry.ts";
import { accountAt, periodAt, type MandateAccount } from "./logic.ts";

export type Standing = {
  lineage: Lineage;
  /** In the order of the lineage. */
  onChain: readonly MandateOnChain[];
  /** The principal's epoch on chain. */
  epoch: number;
  /** The guard's, in the same order; undefined when it could not be asked: then it is taken to allow everything. */
  guard: readonly MandateAccount[] | undefined;
  /** What the mandate's channels hold above the highest ceiling signed, atomic units. */
  unsigned: bigint;
  nowS: number;
};

export type Exposure = {
  /** Atomic units, until the mandate ends. */
  agentKey: bigint;
  agentKeyADay: bigint;
  withVoucherKey: bigint;
  withVoucherKeyADay: bigint;
  /** Whom alone a thief could pay; undefined: anybody. */
  payees: readonly Address[] | undefined;
};

const DAY_S = 86_400;

export function exposureOf({ lineage, onChain, epoch, guard, unsigned, nowS }: Standing): Exposure {
  const ended = onChain.some(({ revoked }) => revoked) || epoch !== lineage[0].mandate.epoch;
  const most = (accounts: readonly MandateAccount[], untilS: number) => lineage.map(({ mandate }, level) => mostUntil(mandate, accounts[level]!, nowS, untilS)).reduce(least);
  const chain = onChain.map(({ spent, periodIndex, periodSpent }): MandateAccount => ({ spent, period: periodIndex, periodSpent }));
  const until = (untilS: number) => {
    const registry = ended ? 0n : most(chain, untilS);
    const vouchers = ended ? 0n : guard === undefined ? unsigned : least(unsigned, most(guard, untilS));
    return { agent: registry + vouchers, both: registry + unsigned };
  };
  const [all, day] = [until(Number.MAX_SAFE_INTEGER), until(nowS + DAY_S - 1)];
  return { agentKey: all.agent, agentKeyADay: day.agent, withVoucherKey: all.both, withVoucherKeyADay: day.both, payees: allowedPayees(lineage) };
}

/** Most that can be spent from now until then: the limit, and each period's limit, of which the one that runs has used a part. */
export function mostUntil(mandate: Mandate, account: MandateAccount, nowS: number, untilS: number): bigint {
  const endS = Math.min(mandate.validUntil, untilS);
  const startS = Math.max(nowS, mandate.validAfter);
  if (endS < startS) return 0n;
  const left = positive(mandate.limit - account.spent);
  if (mandate.period === 0) return left;
  const { periodSpent } = accountAt(mandate, account, startS);
  const further = BigInt(periodAt(mandate, endS) - periodAt(mandate, startS));
  return least(left, positive(mandate.periodLimit - periodSpent) + further * mandate.periodLimit);
}

function allowedPayees(lineage: Lineage): Address[] | undefined {
  const lists = lineage.filter(({ mandate }) => mandate.payeesRoot !== zeroHash).map(({ payees }) => payees ?? []);
  const [first, ...others] = lists;
  return first?.filter((payee) => others.every((list) => list.some((other) => other.toLowerCase() === payee.toLowerCase())));
}

const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const positive = (amount: bigint): bigint => (amount > 0n ? amount : 0n);
