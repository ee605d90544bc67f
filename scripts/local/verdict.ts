// Judges the main job: every document paid and analysed, and the same sums with buyers, relayer, contract and index.
import type { JobResult } from "./job.ts";

const DETAILS_SHOWN = 5;

/** Everything that disagrees, in words; empty when all is well. */
export function faultsOf(job: JobResult): string[] {
  return [...faultsOfPurchases(job), ...faultsOfTotals(job), ...faultsOfPayers(job), ...faultsOfIndex(job)];
}

function faultsOfPurchases({ purchases, documents, unsettled }: JobResult): string[] {
  const faulty = purchases.filter(({ fault }) => fault !== undefined);
  const shown = faulty.slice(0, DETAILS_SHOWN).map(({ path, payer, fault }) => `${path} by ${payer}: ${fault}`);
  return [
    ...(documents === 0 ? ["no document was found"] : []),
    ...(purchases.length === documents ? [] : [`${purchases.length} of ${documents} documents were tried`]),
    ...(faulty.length === 0 ? [] : [`${faulty.length} of ${documents} documents were not bought well`, ...shown]),
    ...(unsettled === undefined ? [] : [unsettled]),
  ];
}

function faultsOfTotals({ purchases, books, contract, index }: JobResult): string[] {
  const buyers = sum(purchases.map(({ chargedAtomic }) => chargedAtomic));
  const relayer = sum(books.map(({ chargedAtomic }) => chargedAtomic));
  const amounts = {
    "the relayer's ledger says charged": relayer,
    "the contract says claimed": contract.claimedAtomic,
    "the contract says settled": contract.settledAtomic,
    "the index says claimed": index.claimedAtomic,
    "the index says settled": index.settledAtomic,
  };
  return Object.entries(amounts)
    .filter(([, amount]) => amount !== buyers)
    .map(([what, amount]) => `buyers were charged ${buyers}, ${what} ${amount}`);
}

function faultsOfPayers({ purchases, books, contract, index }: JobResult): string[] {
  const payers = new Set([...purchases.map(({ payer }) => payer), ...books.map(({ payer }) => payer)]);
  return [...payers].flatMap((payer) => {
    const bought = sum(purchases.filter((purchase) => purchase.payer === payer).map(({ chargedAtomic }) => chargedAtomic));
    const ledger = books.find((entry) => entry.payer === payer)?.chargedAtomic ?? 0n;
    const [onChain, indexed] = [contract.byPayer.get(payer) ?? 0n, index.byPayer.get(payer) ?? 0n];
    if (bought === ledger && ledger === onChain && onChain === indexed) return [];
    return [`${payer} was charged ${bought}, its ledger says ${ledger}, the contract ${onChain}, the index ${indexed}`];
  });
}

function faultsOfIndex({ reconciliation: { differences } }: JobResult): string[] {
  const shown = differences.slice(0, DETAILS_SHOWN).map(({ what, chain, indexed }) => `${what}: the chain says ${chain}, the index ${indexed}`);
  return differences.length === 0 ? [] : [`${differences.length} indexed values are not the chain's`, ...shown];
}

export function sum(amounts: bigint[]): bigint {
  return amounts.reduce((total, amount) => total + amount, 0n);
}
