// Receipts under a root, from a relayer that has them. By content: whoever serves them, they hash to the root or are not believed, and an
// acknowledgement is the buyer's signature or none.
import { isAddressEqual, isHex, type Address, type Hex } from "viem";
import { receiptAckSigner } from "../../sdk/src/receipt.ts";
import { publicReceiptHash, type PublicReceipt } from "../../sdk/src/receipt-public.ts";
import { receiptsRoot } from "../../sdk/src/receipt-tree.ts";
import { receiptDomain, type ReceiptDomain } from "../../sdk/src/typed-data.ts";

export type BundleLeaf = { receiptHash: Hex; receipt?: PublicReceipt; ack?: Hex };
export type Page = { leaves: BundleLeaf[]; next?: number };

const TIMEOUT_MS = 5_000;
/** A page of 500 receipts is some 600 kB. */
const MOST_BYTES = 4_000_000;
const MOST_LEAVES = 100_000;
/** `slaMet` of a receipt. */
const MISSED = 2;

/** Undefined when no source has it, or what they have is not it. */
export async function fetchBundle(sources: readonly string[], root: Hex): Promise<BundleLeaf[] | undefined> {
  for (const source of sources) {
    const leaves = await leavesFrom(source, root).catch(() => undefined); // away, slow or malformed: the next, or none
    if (leaves !== undefined && leaves.length > 0 && receiptsRoot(leaves.map(({ receiptHash }) => receiptHash)) === root) return leaves;
  }
  return undefined;
}

async function leavesFrom(source: string, root: Hex): Promise<BundleLeaf[] | undefined> {
  const leaves: BundleLeaf[] = [];
  for (let offset: number | undefined = 0; offset !== undefined && leaves.length <= MOST_LEAVES; ) {
    const response: Response = await fetch(`${source}/api/v1/receipt-roots/${root}?offset=${offset}&limit=500`, { signal: AbortSignal.timeout(TIMEOUT_MS), redirect: "error" });
    const text = response.ok ? await response.text() : "";
    if (text === "" || text.length > MOST_BYTES) return undefined;
    const page = JSON.parse(text) as Page;
    if (!page.leaves.every(({ receiptHash }) => isHex(receiptHash) && receiptHash.length === 66)) return undefined;
    leaves.push(...page.leaves);
    if (page.next !== undefined && page.next <= offset) return undefined;
    offset = page.next;
  }
  return leaves.length > MOST_LEAVES ? undefined : leaves;
}

export type Party = { payer: Address; payerAuthorizer: Address };
/** Of an agreed SLA that was missed: `late`. Amount in atomic units. */
export type Acknowledged = { receiptHash: Hex; channelId: Hex; late: boolean; latencyMs: bigint; amount: bigint };
export type Sums = { acknowledged: number; late: number; latencyMs: bigint; amount: bigint };

/** Receipts that are what their leaf says and that the channel's buyer acknowledged. */
export async function acknowledgedIn(leaves: readonly BundleLeaf[], chainId: number, contract: Address, partyOf: (channelId: Hex) => Promise<Party | null>): Promise<Acknowledged[]> {
  const domain = receiptDomain(chainId, contract);
  const found: Acknowledged[] = [];
  for (const { receiptHash, receipt, ack } of leaves) {
    if (receipt === undefined || ack === undefined || !(await isAcknowledged(domain, receiptHash, receipt, ack, partyOf))) continue;
    found.push({ receiptHash: receiptHash.toLowerCase() as Hex, channelId: receipt.channelId.toLowerCase() as Hex, late: receipt.slaMet === MISSED, latencyMs: BigInt(receipt.latencyMs), amount: BigInt(receipt.amount) });
  }
  return found;
}

/** By channel. */
export function sumsOf(receipts: readonly Acknowledged[]): Map<Hex, Sums> {
  const sums = new Map<Hex, Sums>();
  for (const { channelId, late, latencyMs, amount } of receipts) {
    const sum = sums.get(channelId) ?? { acknowledged: 0, late: 0, latencyMs: 0n, amount: 0n };
    sums.set(channelId, { acknowledged: sum.acknowledged + 1, late: sum.late + (late ? 1 : 0), latencyMs: sum.latencyMs + latencyMs, amount: sum.amount + amount });
  }
  return sums;
}

async function isAcknowledged(domain: ReceiptDomain, receiptHash: Hex, receipt: PublicReceipt, ack: Hex, partyOf: (channelId: Hex) => Promise<Party | null>): Promise<boolean> {
  try {
    if (publicReceiptHash(domain, receipt) !== receiptHash.toLowerCase()) return false;
    const party = await partyOf(receipt.channelId);
    if (party === null) return false;
    const signer = await receiptAckSigner(domain, receiptHash, ack);
    return [party.payer, party.payerAuthorizer].some((buyer) => isAddressEqual(buyer, signer));
  } catch {
    return false; // fields that are none, a signature that is none
  }
}
