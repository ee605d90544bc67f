// `exact` payments by hand: every part open to change, and a stranger who sends the same authorisation first.
import { encodeFunctionData, parseAbi, parseSignature, parseUnits, toHex, type Address, type Hex, type LocalAccount, type PrivateKeyAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { transferWithAuthorizationTypes } from "../../sdk/src/typed-data.ts";
import { encodeHeader, type Required } from "./buyer.ts";
import type { TestChain } from "./chain.ts";
import { Sessions, type Sent } from "./session.ts";

const USDC = BASE_SEPOLIA.usdc;
const tokenAbi = parseAbi(["function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)"]);

export type ExactTerms = { scheme: string; network: string; amount: string; asset: string; payTo: Hex; maxTimeoutSeconds: number; extra?: Record<string, unknown> };
export type Authorized = { signature: Hex; authorization: { from: Address; to: Address; value: string; validAfter: string; validBefore: string; nonce: Hex } };
export type Change = Partial<{ from: Address; value: bigint; to: Address; validAfter: bigint; validBefore: bigint; nonce: Hex }>;

export const nowS = () => BigInt(Math.floor(Date.now() / 1000));
export const randomNonce = () => toHex(crypto.getRandomValues(new Uint8Array(32)));
export const exactTermsOf = (required: Required): ExactTerms => required.accepts.find(({ scheme }) => scheme === "exact") as unknown as ExactTerms;

export async function newPayer(chain: TestChain, funds = parseUnits("1", 6)): Promise<PrivateKeyAccount> {
  const account = privateKeyToAccount(generatePrivateKey());
  if (funds > 0n) await chain.mintUSDC(account.address, funds);
  return account;
}

/** The payload of a payment by these terms. `signer` signs for `change.from` where that is a contract wallet. */
export async function authorize(signer: LocalAccount, terms: ExactTerms, change: Change = {}): Promise<Authorized> {
  const message = { from: signer.address, to: terms.payTo, value: BigInt(terms.amount), validAfter: 0n, validBefore: nowS() + 60n, nonce: randomNonce(), ...change };
  const domain = { name: USDC.name, version: USDC.version, chainId: BASE_SEPOLIA.chainId, verifyingContract: USDC.address };
  const signature = await signer.signTypedData({ domain, types: transferWithAuthorizationTypes, primaryType: "TransferWithAuthorization", message });
  return { signature, authorization: { ...message, value: String(message.value), validAfter: String(message.validAfter), validBefore: String(message.validBefore) } };
}

export const paymentOf = (accepted: ExactTerms, payload: Authorized, id?: string) => ({
  x402Version: 2, accepted, payload, extensions: id === undefined ? {} : { "payment-identifier": { info: { required: false, id } } },
});

export const sendPayment = (url: string, payment: unknown, init: RequestInit = {}) => fetch(url, { ...init, headers: { ...(init.headers as Record<string, string>), "payment-signature": encodeHeader(payment) } });

/** Sends the very authorisation from another account, as anybody may. */
export function frontRun(chain: TestChain, { authorization, signature }: Authorized): Promise<Sent> {
  const { r, s, yParity } = parseSignature(signature);
  const { from, to, value, validAfter, validBefore, nonce } = authorization;
  const args = [from, to, BigInt(value), BigInt(validAfter), BigInt(validBefore), nonce, 27 + yParity, r, s] as const;
  return new Sessions(chain).sendTo(chain.account(9), USDC.address, encodeFunctionData({ abi: tokenAbi, args }));
}
