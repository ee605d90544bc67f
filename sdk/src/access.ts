// Signing in to a relayer to read one's own sessions, payments and receipts (SIWX: EIP-4361). Browser-safe.
import { getAddress, isAddressEqual, type Address, type Hex, type LocalAccount } from "viem";
import { createSiweMessage } from "viem/siwe";
import { TallystickError } from "./errors.ts";

export type SignedIn = { token: string; address: Address; /** ISO 8601. */ expiresAt: string };

/**
 * Gets a challenge, signs it and exchanges it for a token (`Authorization: Bearer`).
 * @throws TallystickError `challenge_malformed`; `challenge_foreign`: the relayer asks to sign in somewhere else; `access_refused` with the relayer's reason.
 */
export async function signIn(options: { relayerUrl: string; account: Pick<LocalAccount, "address" | "signMessage">; fetch?: typeof fetch }): Promise<SignedIn> {
  const fetcher = options.fetch ?? globalThis.fetch;
  const origin = new URL(options.relayerUrl).origin;
  const given = await fetcher(`${origin}/api/v1/access/challenge`);
  if (!given.ok) throw await refused(given);
  const challenge = await readChallenge(given);
  // A signature for another site must never come out of here.
  if (new URL(challenge.uri).origin !== origin || challenge.domain !== new URL(origin).host) {
    throw new TallystickError({ code: "challenge_foreign", status: 502, retry: "never", field: "uri", detail: `${origin} asks to sign in at ${challenge.domain} (${challenge.uri}).` });
  }
  const proof = await signChallenge(challenge, options.account);
  const answer = await fetcher(`${origin}/api/v1/access/tokens`, { method: "POST", headers: { "sign-in-with-x": proof } });
  if (!answer.ok) throw await refused(answer);
  const signedIn = (await answer.json()) as SignedIn;
  if (typeof signedIn.token === "string" && typeof signedIn.address === "string" && isAddressEqual(signedIn.address, options.account.address)) return signedIn;
  throw new TallystickError({ code: "access_refused", status: 502, retry: "never", field: "address", detail: `${origin} gave a token for ${String(signedIn.address)}, not for ${options.account.address}.` });
}

/** Nothing of it may break out of the message that is signed. @throws TallystickError `challenge_malformed` that names the field. */
async function readChallenge(response: Response): Promise<Challenge> {
  const malformed = (field: string) => new TallystickError({ code: "challenge_malformed", status: 502, retry: "never", field, detail: `The relayer's challenge has no sensible ${field}.` });
  const challenge = (await response.json().catch(() => ({}))) as Partial<Record<keyof Challenge, unknown>>;
  const line = (field: keyof Challenge, shape: RegExp) => {
    const value = challenge[field];
    if (typeof value !== "string" || !shape.test(value)) throw malformed(field);
  };
  line("domain", /^[\w.:[\]-]{1,255}$/);
  line("nonce", /^[A-Za-z0-9]{8,64}$/);
  line("statement", /^[^\r\n]{1,500}$/);
  line("chainId", /^eip155:\d{1,10}$/);
  for (const field of ["issuedAt", "expirationTime"] as const) if (Number.isNaN(Date.parse(String(challenge[field])))) throw malformed(field);
  if (!URL.canParse(String(challenge.uri))) throw malformed("uri");
  if (challenge.version !== "1") throw malformed("version");
  return challenge as Challenge;
}

export type Challenge = { domain: string; uri: string; version: "1"; nonce: string; issuedAt: string; expirationTime: string; statement: string; /** CAIP-2. */ chainId: string; type: "eip191" };

/** The SIGN-IN-WITH-X header: base64 JSON of the challenge, who signs it, and the signature. */
export async function signChallenge(challenge: Challenge, account: Pick<LocalAccount, "address" | "signMessage">): Promise<string> {
  const address = getAddress(account.address);
  const { domain, uri, version, nonce, statement } = challenge;
  const message = createSiweMessage({
    domain, uri, version, nonce, statement, address, chainId: Number(challenge.chainId.slice("eip155:".length)), issuedAt: new Date(challenge.issuedAt), expirationTime: new Date(challenge.expirationTime),
  });
  const signature: Hex = await account.signMessage({ message });
  return btoa(JSON.stringify({ ...challenge, address, signature }));
}

async function refused(response: Response): Promise<TallystickError> {
  const problem = (await response.json().catch(() => ({}))) as { code?: string; detail?: string };
  return new TallystickError({ code: "access_refused", status: response.status, retry: "safe", detail: problem.detail ?? `The relayer answered ${response.status}.`, extra: { reason: problem.code } });
}
