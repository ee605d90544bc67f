// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IDepositCollector} from "../interfaces/IDepositCollector.sol";
import {DepositCollector} from "./DepositCollector.sol";

/// @title AllowanceDepositCollector
/// @notice Pulls a payer's tokens by the allowance the payer gave this contract, for tokens without ERC-3009.
/// @dev An allowance alone proves nothing: anyone may call `deposit`, and could force a stranger's allowance into a channel
/// of their own making. So the payer signs each deposit. The channel id binds payer, receiver, token, channel contract and
/// chain; the domain binds this collector; token and amount stand in the struct so that a wallet can show them.
contract AllowanceDepositCollector is DepositCollector, EIP712 {
    using SafeERC20 for IERC20;

    /// @notice The deposit authorisation is too old. Both times are Unix seconds.
    error AuthorizationExpired(uint256 deadline, uint256 timestamp);
    /// @notice The payer has used or cancelled this nonce.
    error NonceAlreadyUsed(address payer, uint256 nonce);
    /// @notice The payer did not sign this deposit.
    error InvalidSignature();

    /// @notice The payer took back the authorisation with this nonce.
    event NonceCancelled(address indexed payer, uint256 indexed nonce);

    bytes32 public constant DEPOSIT_AUTHORIZATION_TYPEHASH = keccak256(
        "DepositAuthorization(bytes32 channelId,address token,uint256 amount,uint256 nonce,uint256 deadline)"
    );

    /// @notice Used nonces as bits: nonce n is bit n % 256 of word n / 256. Nonces may be used in any order.
    mapping(address payer => mapping(uint256 word => uint256 bits)) public nonceBitmap;

    constructor(address channelContract)
        DepositCollector(channelContract)
        EIP712("Tallystick Allowance Collector", "1")
    {}

    /// @inheritdoc IDepositCollector
    /// @dev `data` is abi.encode(uint256 nonce, uint256 deadline, bytes signature), the signature being the payer's over
    /// DepositAuthorization (ECDSA or ERC-1271 by code). `deadline` is in Unix seconds and inclusive.
    function collect(address payer, address token, uint256 amount, bytes32 channelId, bytes calldata data)
        external
        onlyX402BatchSettlement
    {
        (uint256 nonce, uint256 deadline, bytes memory signature) = abi.decode(data, (uint256, uint256, bytes));
        require(block.timestamp <= deadline, AuthorizationExpired(deadline, block.timestamp));
        _useNonce(payer, nonce);
        bytes32 digest = getDepositAuthorizationDigest(channelId, token, amount, nonce, deadline);
        require(SignatureChecker.isValidSignatureNow(payer, digest, signature), InvalidSignature());
        IERC20(token).safeTransferFrom(payer, msg.sender, amount);
    }

    /// @notice Takes back a signed authorisation of the sender's that has not been used.
    function cancelNonce(uint256 nonce) external {
        _useNonce(msg.sender, nonce);
        emit NonceCancelled(msg.sender, nonce);
    }

    /// @notice What a payer signs for one deposit; `amount` is in atomic token units.
    function getDepositAuthorizationDigest(
        bytes32 channelId,
        address token,
        uint256 amount,
        uint256 nonce,
        uint256 deadline
    ) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(abi.encode(DEPOSIT_AUTHORIZATION_TYPEHASH, channelId, token, amount, nonce, deadline))
        );
    }

    function _useNonce(address payer, uint256 nonce) private {
        uint256 bits = nonceBitmap[payer][nonce >> 8];
        uint256 bit = 1 << (nonce & 0xff);
        require(bits & bit == 0, NonceAlreadyUsed(payer, nonce));
        nonceBitmap[payer][nonce >> 8] = bits | bit;
    }
}
