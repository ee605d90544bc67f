// Channel ids and voucher digests with a cached domain separator: the same hashes as sdk/src/typed-data.ts (a test compares
// them), without encoding the types again for every request.
import { concat, keccak256, numberToHex, pad, stringToBytes, toBytes, encodeAbiParameters, type Address, type Hex } from "viem";
import { channelConfigTypes, voucherTypes, type ChannelConfig, type SessionChannelsDomain } from "../../../sdk/src/typed-data.ts";
import { recoverSigner } from "./secp256k1.ts";

export type Hasher = {
  channelId(config: ChannelConfig): Hex;
  voucherDigest(channelId: Hex, ceiling: bigint): Uint8Array;
  /** Who signed the voucher, or undefined when the contract would refuse the signature. */
  voucherSigner(channelId: Hex, ceiling: bigint, signature: Hex): Promise<Address | undefined>;
};

type Field = { readonly name: string; readonly type: string };
const typehash = (name: string, fields: readonly Field[]): Hex =>
  keccak256(stringToBytes(`${name}(${fields.map((field) => `${field.type} ${field.name}`).join(",")})`));

const CHANNEL_CONFIG = typehash("ChannelConfig", channelConfigTypes.ChannelConfig);
const VOUCHER = typehash("Voucher", voucherTypes.Voucher);
const DOMAIN = keccak256(stringToBytes("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"));

export function createHasher(domain: SessionChannelsDomain): Hasher {
  const separator = keccak256(
    encodeAbiParameters(
      [{ type: "bytes32" }, { type: "bytes32" }, { type: "bytes32" }, { type: "uint256" }, { type: "address" }],
      [DOMAIN, keccak256(stringToBytes(domain.name)), keccak256(stringToBytes(domain.version)), BigInt(domain.chainId), domain.verifyingContract],
    ),
  );
  const digestOf = (structHash: Hex): Uint8Array => keccak256(concat(["0x1901", separator, structHash]), "bytes");
  const word = (value: bigint | number): Hex => numberToHex(value, { size: 32 });

  const voucherDigest = (channelId: Hex, ceiling: bigint) => digestOf(keccak256(toBytes(concat([VOUCHER, channelId, word(ceiling)]))));
  return {
    voucherDigest,
    channelId(config) {
      const { payer, payerAuthorizer, receiver, receiverAuthorizer, token } = config;
      const addresses = [payer, payerAuthorizer, receiver, receiverAuthorizer, token].map((value) => pad(value));
      const structHash = keccak256(concat([CHANNEL_CONFIG, ...addresses, word(config.withdrawDelay), config.salt]));
      return `0x${Buffer.from(digestOf(structHash)).toString("hex")}`;
    },
    voucherSigner: (channelId, ceiling, signature) => recoverSigner(voucherDigest(channelId, ceiling), signature),
  };
}
