// What a deposit token offers: ERC-20 and ERC-3009 as USDC implements them; and how a contract wallet checks a signature.
import { parseAbi } from "viem";

export const tokenAbi = parseAbi([
  "function balanceOf(address account) view returns (uint256)",
  "function name() view returns (string)",
  "function version() view returns (string)",
  "function DOMAIN_SEPARATOR() view returns (bytes32)",
  "function authorizationState(address authorizer, bytes32 nonce) view returns (bool)",
  "event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce)",
  "event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce)",
]);

export const erc1271Abi = parseAbi(["function isValidSignature(bytes32 hash, bytes signature) view returns (bytes4)"]);

/** Answer of a wallet that accepts (EIP-1271). */
export const ERC1271_MAGIC = "0x1626ba7e";
