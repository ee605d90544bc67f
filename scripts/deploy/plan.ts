// What will be created and where, from the module and the compiled code.
import { getContractAddress, type Address } from "viem";
import { DEPLOYED, tallystickModule } from "../../ignition/modules/Tallystick.ts";
import type { Parameters } from "../../ignition/parameters.ts";
import { create2Address, creations, type Creation } from "../../ignition/predict.ts";
import { chainById } from "../../sdk/src/constants.ts";
import { artifact } from "../artifacts.ts";

/** USDC of a chain that parameters name. */
export function usdcOf(chainId: number): Address {
  const chain = chainById(chainId);
  if (chain === undefined) throw new Error(`no USDC is known on chain ${chainId}`);
  return chain.usdc.address;
}

const artifactOf = (name: string) => {
  const known = DEPLOYED.find((deployed) => deployed === name);
  if (known === undefined) throw new Error(`${name} is not among the deployed contracts`);
  return artifact(known);
};

/**
 * The creations of a deployment. On public chains the addresses are certain; on a local chain they follow the sender's
 * nonce, and Ignition may send the two collectors in either order.
 */
export function planFor(parameters: Parameters, sender: { deployer: Address; chainId: number }, nonce = 0): Creation[] {
  const addressOf =
    parameters.strategy === "create2"
      ? (initCode: `0x${string}`) => create2Address(parameters.salt, initCode, sender)
      : (_: `0x${string}`, index: number) => getContractAddress({ from: sender.deployer, nonce: BigInt(nonce + index) });
  return creations(tallystickModule({}, usdcOf(parameters.chainId)), artifactOf, addressOf);
}
