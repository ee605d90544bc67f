// Who is asking? Decided by a signature (SIWX: EIP-4361 in the SIGN-IN-WITH-X header) or by a token that one was exchanged for.
// What somebody may then read is decided by whoever asks here.
import { parseSIWxHeader, validateSIWxMessage, verifySIWxSignature, type SIWxPayload } from "@x402/extensions/sign-in-with-x";
import { createHash, randomBytes } from "node:crypto";
import { getAddress, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import * as store from "./store.ts";

export type AccessDeps = Pick<Deps, "config" | "db" | "chain" | "now">;
export type Caller = { address: Address };
type Asking = { headers: Record<string, string | string[] | undefined> };

export type Challenge = { domain: string; uri: string; version: "1"; nonce: string; issuedAt: string; expirationTime: string; statement: string; chainId: string; type: "eip191" };

const CHALLENGE_TTL_S = 300;
const TOKEN_TTL_S = 3_600;
/** Challenges cost a row each: a flood is answered 503 instead of filling the disk. */
const MOST_CHALLENGES = 100_000;
const TOKEN = /^Bearer (tst_[0-9a-f]{64})$/;

/** @throws TallystickError `access_busy` (503). */
export async function challenge({ config, db, now }: AccessDeps): Promise<Challenge> {
  const nonce = randomBytes(16).toString("hex");
  if (!(await store.insertNonce(db, nonce, CHALLENGE_TTL_S, MOST_CHALLENGES))) {
    throw new TallystickError({ code: "access_busy", status: 503, retry: "safe", detail: "Too many sign-ins are under way; try again in a minute.", extra: { retryAfterS: 60 } });
  }
  const issued = now();
  const origin = new URL(config.publicUrl);
  return {
    domain: origin.host, uri: origin.origin, version: "1", nonce, issuedAt: issued.toISOString(), expirationTime: new Date(issued.getTime() + CHALLENGE_TTL_S * 1000).toISOString(),
    statement: "Sign in to Tallystick to read your own payments.", chainId: config.network, type: "eip191",
  };
}

/**
 * Who made the request.
 * @throws TallystickError 401 `access_required` (nothing that says who), `access_denied` (a token that is none), or invalid_siwx_*.
 */
export async function callerOf(deps: AccessDeps, { headers }: Asking): Promise<Caller> {
  const bearer = headers["authorization"];
  if (typeof bearer === "string") return fromToken(deps, bearer);
  const proof = headers["sign-in-with-x"];
  if (typeof proof === "string") return fromProof(deps, proof);
  throw denied("access_required", "Sign in: GET /api/v1/access/challenge, sign it (EIP-4361), send it as SIGN-IN-WITH-X, or exchange it at POST /api/v1/access/tokens.");
}

/** Exchanges the request's proof for a token. @throws as callerOf. */
export async function issueToken(deps: AccessDeps, { headers }: Asking): Promise<Caller & { token: string; expiresAt: Date }> {
  const proof = headers["sign-in-with-x"];
  if (typeof proof !== "string") throw denied("access_required", "A token is given for a SIGN-IN-WITH-X header.");
  const { address } = await fromProof(deps, proof);
  const token = `tst_${randomBytes(32).toString("hex")}`;
  return { address, token, expiresAt: await store.insertToken(deps.db, hashOf(token), address, TOKEN_TTL_S) };
}

export async function revokeToken({ db }: AccessDeps, { headers }: Asking): Promise<void> {
  const token = TOKEN.exec(String(headers["authorization"] ?? ""))?.[1];
  if (token !== undefined) await store.deleteToken(db, hashOf(token));
}

async function fromToken({ db }: AccessDeps, bearer: string): Promise<Caller> {
  const token = TOKEN.exec(bearer)?.[1];
  const address = token === undefined ? undefined : await store.findToken(db, hashOf(token));
  if (address === undefined) throw denied("access_denied", "The token is unknown or has expired; sign in again.");
  return { address };
}

async function fromProof(deps: AccessDeps, proof: string): Promise<Caller> {
  const payload = read(proof);
  if (payload.type !== "eip191" || payload.chainId !== deps.config.network) throw denied("invalid_siwx_unsupported_chain", `Sign in on ${deps.config.network}, type eip191.`);
  await checkSignature(deps, payload);
  // The nonce is used up last, and only by whoever can sign: a stranger cannot burn it.
  const valid = await validateSIWxMessage(payload, new URL(deps.config.publicUrl), { checkNonce: (nonce) => store.takeNonce(deps.db, nonce) });
  if (!valid.isValid) throw denied(valid.invalidReason, valid.invalidMessage);
  return { address: getAddress(payload.address) };
}

function read(proof: string): SIWxPayload {
  try {
    return parseSIWxHeader(proof);
  } catch (cause) {
    throw denied("invalid_siwx_malformed_signature", "SIGN-IN-WITH-X is not base64 JSON of a sign-in message.", cause);
  }
}

/** A key's signature needs no chain; a contract wallet is asked. */
async function checkSignature({ chain }: AccessDeps, payload: SIWxPayload): Promise<void> {
  const plain = await verifySIWxSignature(payload);
  if (plain.isValid) return;
  const wallet = await verifySIWxSignature(payload, { evmVerifier: (message) => chain.client.verifyMessage(message) });
  if (!wallet.isValid) throw denied(wallet.invalidReason, wallet.invalidMessage);
}

const hashOf = (token: string): Hex => `0x${createHash("sha256").update(token).digest("hex")}`;

function denied(code: string, detail: string, cause?: unknown): TallystickError {
  return new TallystickError({ code, status: 401, retry: "never", detail, cause });
}

/** Forgets what is over. */
export async function sweepAccess({ db }: Pick<Deps, "db">): Promise<void> {
  await store.deleteExpired(db);
}
