// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title SeatTree
/// @notice Numbered weights with their sum, in a Fenwick tree: changing one, and finding whose weight a point of the sum falls
/// on, cost a step a doubling of the number of entries.
/// @dev node[i] is the sum of the weights (i - lowbit(i), i]; so node[capacity], capacity being a power of two, is the sum of all.
library SeatTree {
    struct Tree {
        uint128 count;
        uint128 capacity;
        mapping(uint256 index => uint256) node;
    }

    function total(Tree storage tree) internal view returns (uint256) {
        return tree.node[tree.capacity];
    }

    /// @return index Of a new entry of weight zero; from 1.
    function append(Tree storage tree) internal returns (uint256 index) {
        index = ++tree.count;
        uint256 capacity = tree.capacity;
        if (index <= capacity) return index;
        uint256 doubled = capacity == 0 ? 1 : capacity * 2;
        // The new top covers the old one and nothing else yet.
        tree.node[doubled] = tree.node[capacity];
        tree.capacity = uint128(doubled);
    }

    function add(Tree storage tree, uint256 index, uint256 weight) internal {
        uint256 capacity = tree.capacity;
        for (uint256 i = index; i <= capacity; i += i & (~i + 1)) {
            tree.node[i] += weight;
        }
    }

    function sub(Tree storage tree, uint256 index, uint256 weight) internal {
        uint256 capacity = tree.capacity;
        for (uint256 i = index; i <= capacity; i += i & (~i + 1)) {
            tree.node[i] -= weight;
        }
    }

    /// @notice The entry on whose weight `point` falls when the first `excluded` of `indices` weigh nothing.
    /// @param point Below the sum that is left without them.
    /// @param weights Of the excluded entries, as they stand in the tree.
    function find(Tree storage tree, uint256 point, uint256[] memory indices, uint256[] memory weights, uint256 excluded)
        internal
        view
        returns (uint256)
    {
        uint256 position;
        for (uint256 step = uint256(tree.capacity) >> 1; step != 0; step >>= 1) {
            uint256 end = position + step;
            uint256 sum = tree.node[end];
            for (uint256 i; i < excluded; ++i) {
                if (indices[i] > position && indices[i] <= end) sum -= weights[i];
            }
            if (sum > point) continue;
            point -= sum;
            position = end;
        }
        return position + 1;
    }
}
