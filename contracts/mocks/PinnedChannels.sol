// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {IDepositCollector} from "../interfaces/IDepositCollector.sol";

/// @title PinnedChannels
/// @notice A channel contract that knows of the published interface only what a deposit and its end need, and nothing of ours:
/// a double of the published contract, for tests of collectors. It is written from the published description alone.
contract PinnedChannels is EIP712("x402 Batch Settlement", "1") {
    struct ChannelConfig {
        address payer;
        address payerAuthorizer;
        address receiver;
        address receiverAuthorizer;
        address token;
        uint40 withdrawDelay;
        bytes32 salt;
    }

    struct ChannelState {
        uint128 balance;
        uint128 totalClaimed;
    }

    error DepositCollectionFailed();
    error InvalidChannel();

    event ChannelCreated(bytes32 indexed channelId, ChannelConfig config);
    event Deposited(bytes32 indexed channelId, address indexed sender, uint128 amount, uint128 newBalance);
    event Refunded(bytes32 indexed channelId, address indexed sender, uint128 amount);
    event WithdrawInitiated(bytes32 indexed channelId, uint128 amount, uint40 finalizeAfter);

    bytes32 public constant CHANNEL_CONFIG_TYPEHASH = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );

    mapping(bytes32 channelId => ChannelState) public channels;

    function deposit(ChannelConfig calldata config, uint128 amount, address collector, bytes calldata collectorData)
        external
    {
        bytes32 channelId = getChannelId(config);
        uint256 before = IERC20(config.token).balanceOf(address(this));
        channels[channelId].balance += amount;
        IDepositCollector(collector).collect(config.payer, config.token, amount, channelId, collectorData);
        require(IERC20(config.token).balanceOf(address(this)) == before + amount, DepositCollectionFailed());
        if (channels[channelId].balance == amount) emit ChannelCreated(channelId, config);
        emit Deposited(channelId, msg.sender, amount, channels[channelId].balance);
    }

    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external {
        require(msg.sender == config.payer || msg.sender == config.payerAuthorizer, InvalidChannel());
        emit WithdrawInitiated(getChannelId(config), amount, uint40(block.timestamp) + config.withdrawDelay);
    }

    function refund(ChannelConfig calldata config, uint128 amount) external {
        bytes32 channelId = getChannelId(config);
        channels[channelId].balance -= amount;
        IERC20(config.token).transfer(config.payer, amount);
        emit Refunded(channelId, msg.sender, amount);
    }

    function getChannelId(ChannelConfig calldata config) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(CHANNEL_CONFIG_TYPEHASH, config)));
    }
}
