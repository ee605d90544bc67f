// How the audit log is bound together. One chain an epoch (one start of one process): the hash of an entry is over the hash before it and
// the entry's canonical bytes. Once a second the new entries are sealed: a Merkle root over their hashes, signed. Seals are chained too.
import { hashTypedData, hexToBytes, stringToBytes, type Hex } from "viem";
import { auditExportTypes, auditSealTypes, type AuditDomain } from "../typed-data.ts";
import { portableSha256, type Sha256 } from "./merkle.ts";

/** What an epoch is the hash of. */
export type AuditEpoch = { chainId: number; contract: string; process: string; startedAt: string };

/** An AuditSeal as it is signed. Counts and times are integers. */
export type AuditSeal = { epoch: Hex; number: bigint; firstSeq: bigint; entries: bigint; previous: Hex; root: Hex; head: Hex; sealedAtMs: bigint };
export type AuditExport = { digest: Hex; lines: bigint; cursor: string; exportedAtMs: bigint };

const EPOCH_PREFIX = "tallystick audit epoch v1\n";

/** @param canonical the epoch's canonical JSON. */
export function epochHash(canonical: string, sha256: Sha256 = portableSha256): Uint8Array {
  return sha256(stringToBytes(EPOCH_PREFIX + canonical));
}

/** @param previous the hash of the entry before, or of the epoch. */
export function entryHash(previous: Uint8Array, canonical: string, sha256: Sha256 = portableSha256): Uint8Array {
  const bytes = stringToBytes(canonical);
  const framed = new Uint8Array(previous.length + bytes.length);
  framed.set(previous);
  framed.set(bytes, previous.length);
  return sha256(framed);
}

export function sealDigest(domain: AuditDomain, seal: AuditSeal): Uint8Array {
  return hexToBytes(hashTypedData({ domain, types: auditSealTypes, primaryType: "AuditSeal", message: seal }));
}

export function exportDigest(domain: AuditDomain, file: AuditExport): Uint8Array {
  return hexToBytes(hashTypedData({ domain, types: auditExportTypes, primaryType: "AuditExport", message: file }));
}
