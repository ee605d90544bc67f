// Who signed: a key (offline), or a wallet that the chain is asked about (ERC-1271, EIP-7702 accounts with code, ERC-6492 before it is deployed).
import { BaseError, isAddressEqual, parseErc6492Signature, recoverAddress, type Address, type Hex } from "viem";
import { agreed, headOf, isRevert, readChain } from "../../chain/client.ts";
import { ERC1271_MAGIC, erc1271Abi } from "../../chain/token-abi.ts";
import type { Deps } from "../../deps.ts";

type ChainDeps = Pick<Deps, "chain">;

/** @throws TallystickError `chain_unavailable` (503) when a wallet has to be asked and the chain is away. */
export async function isSignedBy(deps: ChainDeps, signer: Address, digest: Hex, signature: Hex): Promise<boolean> {
  return (await isKeyOf(signer, digest, signature)) || (await walletSigned(deps, signer, digest, signature));
}

export async function isKeyOf(signer: Address, digest: Hex, signature: Hex): Promise<boolean> {
  try {
    return isAddressEqual(await recoverAddress({ hash: digest, signature }), signer);
  } catch {
    return false; // no signature of a key
  }
}

export async function walletSigned({ chain }: ChainDeps, wallet: Address, digest: Hex, signature: Hex): Promise<boolean> {
  const code = await agreed(chain, async (client) => (await client.getCode({ address: wallet })) ?? "0x");
  if (code !== "0x") return agreed(chain, (client) => accepts(client, wallet, digest, signature));
  if (!isWrapped(signature)) return false;
  const isSigned = await readChain(() => chain.client.verifyHash({ address: wallet, hash: digest, signature }));
  // viem answers false for a node that is away too: that is ours, not the signer's.
  if (!isSigned) await headOf(chain);
  return isSigned;
}

async function accepts(client: ChainDeps["chain"]["client"], wallet: Address, digest: Hex, signature: Hex): Promise<boolean> {
  try {
    return (await client.readContract({ address: wallet, abi: erc1271Abi, functionName: "isValidSignature", args: [digest, signature] })) === ERC1271_MAGIC;
  } catch (error) {
    if (isRevert(error) || isBadAnswer(error)) return false;
    throw error;
  }
}

/** A wallet that answers nothing, or something that is not a bytes4. */
function isBadAnswer(error: unknown): boolean {
  return error instanceof BaseError && error.walk((cause) => cause instanceof BaseError && /^(AbiDecoding|ContractFunctionZeroData)/.test(cause.name)) !== null;
}

function isWrapped(signature: Hex): boolean {
  try {
    return parseErc6492Signature(signature).address !== undefined;
  } catch {
    return false;
  }
}
