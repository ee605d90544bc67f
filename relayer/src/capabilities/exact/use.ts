// What became of an authorisation: which transaction used it, and whether that moved the money. Told by the token's logs and state alone,
// never by a transaction's status: one transaction carries many, and a stranger may carry one among others.
import { getAddress, toEventSelector, type Hex, type TransactionReceipt } from "viem";
import { agreed, chainUnavailable, headOf } from "../../chain/client.ts";
import { tokenAbi } from "../../chain/token-abi.ts";
import type { Deps } from "../../deps.ts";
import type { Authorization } from "./types.ts";

type UseDeps = Pick<Deps, "chain" | "config">;

/** Blocks asked for at once when the log of a used authorisation is looked for: what nodes allow, an hour on Base. */
const LOG_PAGE_BLOCKS = 2_000n;
/** How many such pages are read, the newest first: longer than authorisations live. */
const LOG_PAGES = 26;

const USED = toEventSelector("AuthorizationUsed(address,bytes32)");
const TRANSFER = toEventSelector("Transfer(address,address,uint256)");

type Logs = Pick<TransactionReceipt, "logs" | "status">;
type Moves = Map<string, { to: string; value: bigint }>;

/** Receipts of batches are asked about once for each transfer in them. */
const indexed = new WeakMap<object, Moves>();

/**
 * True when the transaction moved exactly this. The transfer must be the one that its own AuthorizationUsed announces: of two nonces
 * used in one transaction each has its own, and one transfer never pays for both.
 */
export function movedIn({ config }: Pick<Deps, "config">, { from, to, value, nonce }: Authorization, receipt: Logs): boolean {
  if (receipt.status !== "success") return false;
  let moves = indexed.get(receipt.logs);
  if (moves === undefined) indexed.set(receipt.logs, (moves = movesOf(receipt, config.token.address)));
  const move = moves.get(keyOf(from, nonce));
  return move !== undefined && move.to === to.toLowerCase() && move.value === value;
}

const keyOf = (payer: string, nonce: string): string => `${payer}${nonce}`.toLowerCase();
const addressIn = (topic: Hex): string => `0x${topic.slice(26)}`.toLowerCase();

/** FiatTokenV2 marks the authorisation as used, then transfers, and does nothing in between. */
function movesOf({ logs }: Logs, token: string): Moves {
  const moves: Moves = new Map();
  const own = logs.filter(({ address }) => address.toLowerCase() === token.toLowerCase());
  own.forEach(({ topics: [event, authorizer, nonce] }, index) => {
    const next = own[index + 1];
    if (event !== USED || authorizer === undefined || nonce === undefined || next === undefined) return;
    const [kind, from, to] = next.topics;
    if (kind !== TRANSFER || from !== authorizer || to === undefined) return;
    moves.set(keyOf(addressIn(authorizer), nonce), { to: addressIn(to), value: BigInt(next.data) });
  });
  return moves;
}

export type Use =
  /** Moved the money, in this transaction; `deep` at the configured depth. */
  | { moved: true; txHash: Hex; deep: boolean }
  /** Cancelled, or used for something else. */
  | { moved: false };

/**
 * A used authorisation: what its AuthorizationUsed and Transfer logs say. Undefined while it is unused.
 * @throws `chain_unavailable` (503): it is used, and no node shows by what. That is never taken for "it did not pay".
 */
export async function findUse(deps: UseDeps, authorization: Authorization): Promise<Use | undefined> {
  if (!(await isUsed(deps, authorization))) return undefined;
  const head = await headOf(deps.chain);
  const hash = await endOf(deps, authorization, head);
  if (hash === "cancelled") return { moved: false };
  const receipt = await agreed(deps.chain, (client) => client.getTransactionReceipt({ hash }));
  if (!movedIn(deps, authorization, receipt)) return { moved: false };
  return { moved: true, txHash: receipt.transactionHash, deep: head - receipt.blockNumber + 1n >= BigInt(deps.config.confirmations) };
}

/** What more than half of the endpoints say. */
export function isUsed({ chain, config }: UseDeps, { from, nonce }: Pick<Authorization, "from" | "nonce">): Promise<boolean> {
  return agreed(chain, (client) => client.readContract({ address: config.token.address, abi: tokenAbi, functionName: "authorizationState", args: [getAddress(from), nonce] }));
}

/** The transaction that used it, or that it was cancelled. Looks from the newest block backwards. */
async function endOf(deps: UseDeps, authorization: Authorization, head: bigint): Promise<Hex | "cancelled"> {
  for (let page = 0, toBlock = head; page < LOG_PAGES && toBlock >= 0n; page += 1, toBlock -= LOG_PAGE_BLOCKS) {
    const fromBlock = toBlock >= LOG_PAGE_BLOCKS ? toBlock - LOG_PAGE_BLOCKS + 1n : 0n;
    // The newest page is open at its end: the use may be in a block that came after the head was asked for.
    const range = { fromBlock, toBlock: page === 0 ? ("latest" as const) : toBlock };
    const [used, cancelled] = await Promise.all((["AuthorizationUsed", "AuthorizationCanceled"] as const).map((eventName) => logsOf(deps, authorization, eventName, range)));
    if (used![0] !== undefined) return used![0];
    if (cancelled!.length > 0) return "cancelled";
  }
  throw chainUnavailable(new Error(`authorisation ${authorization.nonce} of ${authorization.from} is used, and no log says by what`));
}

function logsOf({ chain, config }: UseDeps, { from, nonce }: Authorization, eventName: "AuthorizationUsed" | "AuthorizationCanceled", range: { fromBlock: bigint; toBlock: bigint | "latest" }): Promise<Hex[]> {
  return agreed(chain, async (client) => {
    const logs = await client.getContractEvents({ address: config.token.address, abi: tokenAbi, eventName, args: { authorizer: from, nonce }, ...range });
    return logs.map(({ transactionHash }) => transactionHash);
  });
}
