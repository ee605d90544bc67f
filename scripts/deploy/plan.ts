// What will be created and where, from the module and the compiled code.
import { getContractAddress, type Address } from "viem";
import { DEPLOYED, tallystickModule } from "../../ignition/modules/Tallystick.ts";
import type { Parameters } from "../../ignition/parameters.ts";
import { create2Address, creations, type Creation } from "../../ignition/predict.ts";
import { artifact } from "../artifacts.ts";

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
  return creations(tallystickModule({}, parameters), artifactOf, addressOf);
}
