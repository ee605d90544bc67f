// Judges the main job: every document paid and analysed, and the same sums with buyers, relayer, contract and index.
import type { JobResult } from "./job.ts";

const DETAILS_SHOWN = 5;

/** Everything that disagrees, in words; empty when all is well. */
export function faultsOf(job: JobResult): string[] {
  return [...faultsOfPurchases(job), ...faultsOfTotals(job), ...faultsOfPayers(job), ...faultsOfDirect(job), ...faultsOfIndex(job), ...faultsOfMandate(job), ...faultsOfJobs(job), ...faultsOfBazaar(job)];
}

/** Bought by channel: what the contract and the index know of. */
const byChannel = ({ purchases }: JobResult) => purchases.filter(({ agent }) => agent !== "stock-exact");

function faultsOfPurchases({ purchases, planned, unsettled }: JobResult): string[] {
  const faulty = purchases.filter(({ fault }) => fault !== undefined);
  const shown = faulty.slice(0, DETAILS_SHOWN).map(({ agent, path, payer, fault }) => `${path} by ${agent} ${payer}: ${fault}`);
  return [
    ...(planned === 0 ? ["no document was found"] : []),
    ...(purchases.length === planned ? [] : [`${purchases.length} of ${planned} purchases were tried`]),
    ...(faulty.length === 0 ? [] : [`${faulty.length} of ${planned} documents were not bought well`, ...shown]),
    ...(unsettled === undefined ? [] : [unsettled]),
  ];
}

function faultsOfTotals(job: JobResult): string[] {
  const { books, contract, index } = job;
  const buyers = sum(byChannel(job).map(({ chargedAtomic }) => chargedAtomic));
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

function faultsOfPayers(job: JobResult): string[] {
  const { books, contract, index } = job;
  const purchases = byChannel(job);
  const payers = new Set([...purchases.map(({ payer }) => payer), ...books.map(({ payer }) => payer)]);
  return [...payers].flatMap((payer) => {
    const bought = sum(purchases.filter((purchase) => purchase.payer === payer).map(({ chargedAtomic }) => chargedAtomic));
    const ledger = books.find((entry) => entry.payer === payer)?.chargedAtomic ?? 0n;
    const [onChain, indexed] = [contract.byPayer.get(payer) ?? 0n, index.byPayer.get(payer) ?? 0n];
    if (bought === ledger && ledger === onChain && onChain === indexed) return [];
    return [`${payer} was charged ${bought}, its ledger says ${ledger}, the contract ${onChain}, the index ${indexed}`];
  });
}

/** Who paid each call on its own: buyer, ledger and the token's Transfer events. */
function faultsOfDirect({ purchases, direct }: JobResult): string[] {
  const bought = purchases.filter(({ agent }) => agent === "stock-exact");
  const payers = new Set([...bought.map(({ payer }) => payer), ...direct.map(({ payer }) => payer)]);
  return [...payers].flatMap((payer) => {
    const buyer = sum(bought.filter((purchase) => purchase.payer === payer).map(({ chargedAtomic }) => chargedAtomic));
    const { chargedAtomic = 0n, transferredAtomic = 0n } = direct.find((entry) => entry.payer === payer) ?? {};
    if (buyer === chargedAtomic && chargedAtomic === transferredAtomic) return [];
    return [`${payer} was charged ${buyer} by transfers, its ledger says ${chargedAtomic}, the token ${transferredAtomic}`];
  });
}

function faultsOfIndex({ reconciliation: { differences } }: JobResult): string[] {
  const shown = differences.slice(0, DETAILS_SHOWN).map(({ what, chain, indexed }) => `${what}: the chain says ${chain}, the index ${indexed}`);
  return differences.length === 0 ? [] : [`${differences.length} indexed values are not the chain's`, ...shown];
}

/** Each job ended as it was meant to, and the escrow holds what is open and nothing else. */
function faultsOfJobs({ jobs: { completed, split, refunded, escrowAtomic, openBudgetsAtomic } }: JobResult): string[] {
  return [
    ...(completed === 1 && split === 1 && refunded === 1 ? [] : [`of three jobs ${completed} were completed, ${split} split and ${refunded} refunded`]),
    ...(escrowAtomic === openBudgetsAtomic ? [] : [`the escrow holds ${escrowAtomic}, open jobs come to ${openBudgetsAtomic}`]),
  ];
}

/** Both providers were found, and nothing cost more than was agreed. */
function faultsOfBazaar({ bazaar: { services, negotiated, chargesAboveAgreed, savedPercent } }: JobResult): string[] {
  return [
    ...(services === 2 ? [] : [`${services} of two listed services were found`]),
    ...(negotiated > 0 && savedPercent > 0 ? [] : [`${negotiated} calls were negotiated, which saved ${savedPercent} %`]),
    ...(chargesAboveAgreed === 0 ? [] : [`${chargesAboveAgreed} calls cost more than was agreed`]),
  ];
}

/** Nothing over any limit, and what was refused moved nothing. */
function faultsOfMandate({ mandate: { chargedAtomic, claimedAtomic, depositedAtomic, signedAtomic, overspentAtomic, refused, refusal }, unsettled }: JobResult): string[] {
  return [
    ...(overspentAtomic === 0n ? [] : [`the mandate was overspent by ${overspentAtomic}`]),
    ...(unsettled !== undefined || claimedAtomic === chargedAtomic ? [] : [`under the mandate ${chargedAtomic} was charged, the contract says claimed ${claimedAtomic}`]),
    ...(chargedAtomic <= signedAtomic && signedAtomic <= depositedAtomic ? [] : [`under the mandate ${depositedAtomic} was deposited, ${signedAtomic} signed, ${chargedAtomic} charged`]),
    ...(refused > 0 && refusal.spentAtomic === 0n ? [] : [`the refused payment moved ${refusal.spentAtomic}`]),
  ];
}

export function sum(amounts: bigint[]): bigint {
  return amounts.reduce((total, amount) => total + amount, 0n);
}
