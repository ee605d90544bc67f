// Where contracts will stand, computed without a chain: the create2 rule of Ignition, which deploys through CreateX.
import { FutureType, type IgnitionModule } from "@nomicfoundation/ignition-core";
import {
  concat,
  encodeAbiParameters,
  getAddress,
  getContractAddress,
  hexToBytes,
  isAddressEqual,
  keccak256,
  numberToHex,
  pad,
  slice,
  zeroAddress,
  type Abi,
  type Address,
  type Hex,
} from "viem";

/** CreateX, at its address on Base, Base Sepolia and most other chains. */
export const CREATEX: Address = "0xba5Ed099633D3B313e4D5F7bdc1305d3c28ba5Ed";
/** keccak256 of its code; Ignition refuses any other. */
export const CREATEX_CODE_HASH: Hex = "0xbd8a7ea8cfca7b4e5f5041d7d4b17bc317c5ce42cfbc42066a00cf26b43eb53f";

export type Creation = { name: string; futureId: string; address: Address; initCode: Hex };
type Sender = { deployer: Address; chainId: number };

/**
 * The salt CreateX really uses (its `_guard`). The first 20 bytes of a salt may bind it to a deployer, its byte 21 to a
 * chain. Ours does neither: whoever deploys, on whichever chain, the addresses are the same.
 */
export function guardedSalt(salt: Hex, { deployer, chainId }: Sender): Hex {
  const prefix = slice(salt, 0, 20);
  const perChain = hexToBytes(salt)[20];
  const [toSender, toNobody] = [isAddressEqual(prefix, deployer), isAddressEqual(prefix, zeroAddress)];
  if ((toSender || toNobody) && perChain !== 0 && perChain !== 1) throw new Error(`CreateX refuses the salt ${salt}: byte 21 must be 00 or 01`);
  if (toSender && perChain === 1) {
    return keccak256(encodeAbiParameters([{ type: "address" }, { type: "uint256" }, { type: "bytes32" }], [deployer, BigInt(chainId), salt]));
  }
  if (toSender) return keccak256(concat([pad(deployer), salt]));
  if (toNobody && perChain === 1) return keccak256(concat([numberToHex(chainId, { size: 32 }), salt]));
  return keccak256(salt);
}

/** Address of `initCode` deployed through CreateX with that salt. */
export function create2Address(salt: Hex, initCode: Hex, sender: Sender): Address {
  return getContractAddress({ opcode: "CREATE2", from: CREATEX, salt: guardedSalt(salt, sender), bytecode: initCode });
}

/**
 * What a module creates, in its order, with the address `addressOf` gives each creation. Arguments that are contracts of
 * the module become their addresses.
 */
export function creations(
  module: IgnitionModule,
  artifactOf: (name: string) => { abi: Abi; bytecode: Hex },
  addressOf: (initCode: Hex, index: number) => Address,
): Creation[] {
  const placed = new Map<unknown, Creation>();
  for (const future of module.futures) {
    if (future.type !== FutureType.NAMED_ARTIFACT_CONTRACT_DEPLOYMENT) throw new Error(`${future.id}: only deployments can be predicted`);
    const { abi, bytecode } = artifactOf(future.contractName);
    const inputs = abi.find((entry) => entry.type === "constructor")?.inputs ?? [];
    const args = future.constructorArgs.map((value) => placed.get(value)?.address ?? value);
    const initCode = concat([bytecode, encodeAbiParameters(inputs, args)]);
    const address = getAddress(addressOf(initCode, placed.size));
    placed.set(future, { name: future.contractName, futureId: future.id, address, initCode });
  }
  return [...placed.values()];
}
