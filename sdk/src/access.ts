// Signing in to a relayer: x402's sign-in-with-x (an EIP-4361 message) for a token that reads what is the account's own.
// Browser-safe. Nothing that is signed here can move money.
import { isAddressEqual, isAddress, type Address, type Hex } from "viem";
import { TallystickError } from "./errors.ts";

export type SignInOptions = {
  relayerUrl: string;
  /** viem's local account, or anything of its shape. */
  account: { address: Address; signMessage(parameters: { message: string }): Promise<Hex> };
  fetch?: typeof fetch;
};

/** `token` goes into `Authorization: Bearer`; `expiresAt` as the relayer writes it. */
export type Access = { token: string; address: Address; expiresAt: string };

type Challenge = { domain: string; uri: string; nonce: string; issuedAt: string; expirationTime?: string; statement?: string; chainId: string | number };

/** Field values go into lines of a text: one with a line break in it could write lines of its own. */
const LINE = /^[^\r\n]{1,1024}$/;

/**
 * Signs the relayer's challenge and gets a token.
 * @throws TallystickError `challenge_refused` when the challenge is not for that relayer (nothing is signed then), or the relayer's own
 * code, such as `access_denied`; TypeError when it cannot be reached.
 */
export async function signIn({ relayerUrl, account, fetch: fetcher = fetch }: SignInOptions): Promise<Access> {
  const at = (path: string) => `${relayerUrl.replace(/\/+$/, "")}/api/v1/access/${path}`;
  const challenge = await read<Challenge>(await fetcher(at("challenge"), { headers: { accept: "application/json" } }));
  const chainId = refuseForeign(challenge, relayerUrl);
  const message = signInMessage(challenge, account.address, chainId);
  const signature = await account.signMessage({ message });
  const { domain, uri, nonce, issuedAt, expirationTime, statement } = challenge;
  const proof = { domain, uri, version: "1", nonce, issuedAt, expirationTime, statement, address: account.address, chainId: `eip155:${chainId}`, type: "eip191", signature };
  const access = await read<Access>(await fetcher(at("tokens"), { method: "POST", headers: { "sign-in-with-x": base64(JSON.stringify(proof)), accept: "application/json" } }));
  if (typeof access.token === "string" && isAddress(access.address) && isAddressEqual(access.address, account.address)) return access;
  throw new TallystickError({ code: "relayer_malformed", status: 502, retry: "never", detail: "The relayer's answer to a sign-in is no token of this account." });
}

/**
 * A relayer could pass on another site's challenge, and sign in there with what it gets back. The origin and the lines are
 * checked before anything is signed. Returns the decimal chain id.
 */
function refuseForeign(challenge: Challenge, relayerUrl: string): string {
  const origin = new URL(relayerUrl);
  const refuse = (field: string, detail: string) => new TallystickError({ code: "challenge_refused", status: 502, retry: "never", field, detail });
  for (const field of ["domain", "uri", "nonce", "issuedAt"] as const) {
    if (typeof challenge[field] !== "string" || !LINE.test(challenge[field])) throw refuse(field, `The challenge's ${field} is not one line of text.`);
  }
  for (const field of ["expirationTime", "statement"] as const) {
    if (challenge[field] !== undefined && (typeof challenge[field] !== "string" || !LINE.test(challenge[field]))) throw refuse(field, `The challenge's ${field} is not one line of text.`);
  }
  if (challenge.domain !== origin.host) throw refuse("domain", `The challenge is for ${challenge.domain}, the relayer is ${origin.host}.`);
  if (!URL.canParse(challenge.uri) || new URL(challenge.uri).origin !== origin.origin) throw refuse("uri", `The challenge is for ${challenge.uri}, the relayer is ${origin.origin}.`);
  const chainId = /^(?:eip155:)?(\d{1,18})$/.exec(String(challenge.chainId))?.[1];
  if (chainId === undefined) throw refuse("chainId", "The challenge names no EVM chain.");
  return chainId;
}

/** EIP-4361, as the relayer rebuilds it from the proof's fields. */
export function signInMessage({ domain, uri, nonce, issuedAt, expirationTime, statement }: Omit<Challenge, "chainId">, address: Address, chainId: string): string {
  return [
    `${domain} wants you to sign in with your Ethereum account:`,
    address,
    "",
    ...(statement === undefined ? [""] : [statement, ""]),
    `URI: ${uri}`,
    "Version: 1",
    `Chain ID: ${chainId}`,
    `Nonce: ${nonce}`,
    `Issued At: ${issuedAt}`,
    ...(expirationTime === undefined ? [] : [`Expiration Time: ${expirationTime}`]),
  ].join("\n");
}

/** The body of a good answer. @throws TallystickError with the problem's own code. */
async function read<T>(response: Response): Promise<T> {
  const body = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  if (response.ok) return body as T;
  const code = typeof body["code"] === "string" ? body["code"] : "relayer_error";
  const detail = typeof body["detail"] === "string" ? body["detail"] : `The relayer answers HTTP ${response.status} to a sign-in.`;
  throw new TallystickError({ code, status: response.status, retry: response.status >= 500 ? "safe" : "never", detail });
}

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
