// The bazaar's tables computed again from raw logs; shares nothing with indexer/src but the ABI. Each service is the fold of its own logs,
// where the handlers write one event at a time.
import { decodeEventLog, hexToBytes, zeroHash, type Hex } from "viem";
import { bazaarRegistryAbi } from "../../sdk/src/abi/bazaar-registry.ts";
import { keyOf, writeRow, type Draft, type RawLog, type Table } from "./replay.ts";

type BazaarTable = "services" | "ratings" | "facilitators";
type Rows = Record<BazaarTable, Map<string, Draft>>;

/** As in IBazaarRegistry. */
const STATUS = ["none", "draft", "pending_review", "listed", "suspended", "delisted"];
const VISIBILITY = ["public", "unlisted"];
const NO_BOND: Draft = { bond: 0n, unbonding: 0n, bondWithdrawableAt: 0n };

const unlessZero = (hash: Hex): Hex | null => (hash === zeroHash ? null : hash);
const printable = (text: string): string => [...text].map((sign) => (sign.codePointAt(0) === 0 ? "\uFFFD" : sign)).join("");

/** The tag in a capability word: ASCII up to the first zero byte, nothing after it. */
function tagOf(capability: Hex): string | null {
  const bytes = [...hexToBytes(capability)];
  while (bytes.at(-1) === 0) bytes.pop();
  const tag = String.fromCharCode(...bytes);
  return /^[a-z0-9][-a-z0-9._]*$/.test(tag) ? tag : null;
}

/** Logs of one BazaarRegistry, oldest first. */
export function replayBazaar(logs: readonly RawLog[]): Record<BazaarTable, Table> {
  const rows: Rows = { services: new Map(), ratings: new Map(), facilitators: new Map() };
  for (const log of logs) apply(rows, log);
  for (const service of rows.services.values()) service["ratingCount"] = [...rows.ratings.values()].filter(({ serviceId }) => serviceId === service["id"]).length;
  const written = Object.entries(rows).map(([name, drafts]) => [name, new Map([...drafts.values()].map((draft) => [keyOf(name as BazaarTable, draft), writeRow(draft)]))]);
  return Object.fromEntries(written) as Record<BazaarTable, Table>;
}

function apply({ services, ratings, facilitators }: Rows, log: RawLog): void {
  const { eventName, args } = decodeEventLog({ abi: bazaarRegistryAbi, topics: log.topics, data: log.data, strict: true });
  const { transactionHash, logIndex, blockNumber, timestamp } = log;
  const origin = { transactionHash, blockNumber, timestamp };
  const of = (table: Map<string, Draft>, id: Hex, change: Draft): void => {
    const row = table.get(id.toLowerCase());
    if (row === undefined) throw new Error(`a log names ${id} before it was listed: is fromBlock too high?`);
    Object.assign(row, change, { updatedAt: timestamp });
  };
  const termsOf = ({ payTo, token, offer }: { payTo: Hex; token: Hex; offer: { capability: Hex; visibility: number; uri: string } & Draft }): Draft => ({
    payTo, token, ...offer, capabilityTag: tagOf(offer.capability), visibility: VISIBILITY[offer.visibility]!, uri: printable(offer.uri),
  });

  switch (eventName) {
    case "ServiceListed": {
      const { serviceId: id, owner, key, terms, status } = args;
      return void services.set(id.toLowerCase(), {
        id, owner, agent: key.agent, salt: key.salt, ...termsOf(terms), status: STATUS[status]!, statusBy: null, statusReason: null, version: 1, revision: 1, ...NO_BOND, ...origin, updatedAt: timestamp,
      });
    }
    case "ServiceUpdated": {
      const { serviceId, owner, terms, version, revision } = args;
      const status = STATUS[args.status]!;
      const same = services.get(serviceId.toLowerCase())?.["status"] === status;
      return of(services, serviceId, { owner, ...termsOf(terms), status, version, revision, ...(same ? {} : { statusBy: null, statusReason: null }) });
    }
    case "ServiceStatusChanged": {
      const { serviceId, by, status, version, revision, reason } = args;
      return of(services, serviceId, { status: STATUS[status]!, statusBy: by, statusReason: unlessZero(reason), version, revision });
    }
    case "ServiceRated": {
      const { details, ...rest } = args;
      ratings.set(`${transactionHash} ${logIndex}`, { ...rest, details: unlessZero(details), forwarded: null, logIndex, ...origin });
      return of(services, args.serviceId, {});
    }
    case "RatingForwarded": {
      const rated = [...ratings.values()].findLast((row) => row["source"] === args.source && row["transactionHash"] === transactionHash);
      return void Object.assign(rated!, { forwarded: String(args.accepted) });
    }
    case "ServiceBonded":
      return of(services, args.serviceId, { bond: args.total });
    case "ServiceUnbonding":
      return of(services, args.serviceId, { owner: args.owner, unbonding: args.amount, bondWithdrawableAt: args.withdrawableAt, revision: args.revision });
    case "ServiceBondWithdrawn":
      return of(services, args.serviceId, { ...NO_BOND, bond: args.total });
    case "FacilitatorRegistered": {
      const { facilitator: address, endpoint, contentHash, bond } = args;
      const known = facilitators.get(address.toLowerCase()) ?? { address, ...NO_BOND, ...origin };
      facilitators.set(address.toLowerCase(), { ...known, endpoint: printable(endpoint), contentHash, active: "true", bond: bond + (known["unbonding"] as bigint), updatedAt: timestamp });
      return;
    }
    case "FacilitatorUnbonding":
      return of(facilitators, args.facilitator, { unbonding: args.amount, bondWithdrawableAt: args.withdrawableAt, active: String(args.active) });
    case "FacilitatorBondWithdrawn":
      return of(facilitators, args.facilitator, { ...NO_BOND, bond: args.total });
    default:
      return; // EIP712DomainChanged
  }
}
